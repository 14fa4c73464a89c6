"""Shards on other machines: a real Dask scheduler, real workers, one database, and what is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterStartTime,
)
from prefect.client.schemas.objects import FlowRun

from deployments.sandbox import Sandbox
from flows.ui.server import new_login, server_login
from tests.conftest import KEYS, Job, PrefectServer
from tests.operations.dask_workers import Workers
from tests.runs import await_condition, free_port, numbered

INPUTS, CHECKS, SHARDS, THREADS = 24, 2, 2, 4
QUOTA, WINDOW = 4, 2

_GRACE = 30
"""Seconds that an orderly end may take; when the last call was sent is looked at apart from that."""

MakeJob = Callable[..., Job]

CONFIG = """
mode = "check"
processes = {shards}
shards = {shards}
threads = {threads}
state = "{state}"
margin = 0.1
[workers]
scheduler = "{scheduler}"
scheduler_patience = {patience}
[app_ids.alpha]
key = "env:KEY_A"
base_url = "{url}"
quota = ["{quota}/{window}s"]
[app_ids.bravo]
key = "env:KEY_B"
base_url = "{url}"
quota = ["{quota}/{window}s"]
[[check]]
name = "one"
model = "check-1"
[[check]]
name = "two"
model = "check-2"
"""


@pytest.fixture(scope="module")
def all_workers(
    prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    """A scheduler; nobody works for it yet."""
    kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    lent = {"NIGHTLY_REVIEW_KEYS": "KEY_*"}
    environment = kept | prefect_server.environment | KEYS | lent
    made = Workers(tmp_path_factory.mktemp("workers"), free_port(), environment)
    made.start_scheduler()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def workers(all_workers: Workers) -> Workers:
    """Two are at work, a place each."""
    if all_workers.started["scheduler"].poll() is not None:
        all_workers.stop()  # workers without a scheduler are on their way out
        all_workers.start_scheduler()
    all_workers.start("one", "two")
    return all_workers


@pytest.fixture
def job(make_job: MakeJob, sandbox: Sandbox, all_workers: Workers, database: str) -> Job:
    """A run whose windows are as tight as the sandbox's own."""
    sandbox.control(quota=[f"{QUOTA}/{WINDOW}s"], latency=0.2)
    return make_job(text(sandbox, all_workers.address, database))


def text(sandbox: Sandbox, scheduler: str, state: str, patience: float = 60) -> str:
    return CONFIG.format(
        shards=SHARDS, threads=THREADS, state=state, scheduler=scheduler, patience=patience,
        url=sandbox.base_url, quota=QUOTA, window=WINDOW,
    )  # fmt: skip


def kept(sandbox: Sandbox) -> bool:
    """Whether the upstream saw the quotas kept: it refused nothing, and no window had more."""
    seen = sandbox.stats()
    peaks = [window["peak_arrived"] for key in seen["keys"].values() for window in key["windows"]]
    return seen["refused"] == 0 and len(peaks) == len(KEYS) and max(peaks) <= QUOTA


def whole(sandbox: Sandbox, twice: int) -> bool:
    """Whether every question was asked, at most so many twice, within the quotas."""
    seen = sandbox.stats()
    assert seen["bodies"] == INPUTS * CHECKS
    assert seen["billed_twice"] <= twice
    return kept(sandbox)


def manifest(job: Job) -> dict[str, object]:
    return dict(json.loads((job.output / "manifest.json").read_text()))


def well_on_its_way(workers: Workers, sandbox: Sandbox) -> bool:
    """Both have a shard in work, and a quarter of the questions was asked."""
    at_work = workers.shards("one") and workers.shards("two")
    return bool(at_work) and sandbox.stats()["bodies"] > INPUTS * CHECKS / 4


def nobody_works(workers: Workers) -> bool:
    return not any(workers.shards(name) for name in workers.started if name != "scheduler")


def shard_runs(since: datetime) -> list[FlowRun]:
    """Flow runs of shards that were begun or made since then."""
    flow = FlowFilter(name=FlowFilterName(any_=["review-shard"]))
    started = FlowRunFilter(start_time=FlowRunFilterStartTime(after_=since))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_filter=flow, flow_run_filter=started)


@contextmanager
def once(holds: Callable[[], bool], do: Callable[[], object]) -> Iterator[None]:
    """Do it on another thread as soon as it holds, while the block goes on."""
    failed: list[BaseException] = []

    def act() -> None:
        try:
            await_condition(holds, "what was waited for")
            do()
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join(120)
    assert not thread.is_alive()
    if failed:
        raise failed[0]


def test_kill_9_of_a_machine(workers: Workers, job: Job, sandbox: Sandbox, tmp_path: Path) -> None:
    """
    Two machines share one ledger, one dies, the other does its shard: the outputs are whole, no window
    had more than its quota, paid twice is at most what was in flight, every state is final, no folder
    is left, and neither scheduler nor worker has seen an input, a key or Prefect's login in the clear.
    """
    since = datetime.now(UTC)
    with once(lambda: well_on_its_way(workers, sandbox), lambda: workers.kill("one")):
        ended = job.run(numbered(tmp_path / "inputs.jsonl", INPUTS))

    assert ended.code == 0, ended.err
    assert whole(sandbox, twice=THREADS)
    assert manifest(job)["complete"]
    states = [run.state_name for run in shard_runs(since)]
    assert states == ["Completed"] * SHARDS
    assert [path for path in workers.left() if "one" not in path.parts] == []
    said = ended.out + ended.err + workers.logs()
    assert "def f" not in said
    assert not any(
        secret in said for secret in (*KEYS.values(), os.environ["PREFECT_API_AUTH_STRING"])
    )
    assert "distributed" not in ended.out + ended.err


def busy(workers: Workers) -> list[str]:
    """Names of the workers that have a shard in work."""
    return [name for name in ("one", "two") if workers.shards(name)]


def leave_nothing(workers: Workers, since: datetime, states: set[str]) -> None:
    """No process of a shard and no folder is left, and every flow run of a shard has such a state."""
    await_condition(lambda: nobody_works(workers), "shards gone", _GRACE)
    await_condition(lambda: not workers.left(), "folders gone", _GRACE)
    found = [run.state_name for run in shard_runs(since)]
    assert found
    assert set(found) <= states


def sends_until(sandbox: Sandbox, seconds: float) -> int:
    """Requests after a stop that has to take effect within so many seconds: none may follow."""
    time.sleep(seconds)
    asked = int(sandbox.stats()["requests"])
    time.sleep(2 * WINDOW)
    return int(sandbox.stats()["requests"]) - asked


@pytest.mark.chaos
def test_kill_9_of_the_parent(workers: Workers, job: Job, sandbox: Sandbox, tmp_path: Path) -> None:
    """Its shards stop within a second, untold; the rerun completes and pays twice what was in flight."""
    since, source = datetime.now(UTC), numbered(tmp_path / "inputs.jsonl", INPUTS)
    process = job.start(source)
    await_condition(lambda: well_on_its_way(workers, sandbox), "calls of both workers")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)

    assert sends_until(sandbox, 1) == 0
    leave_nothing(workers, since, {"Crashed"})
    ended = job.run(source)
    assert ended.code == 0, ended.err
    assert whole(sandbox, twice=SHARDS * THREADS)


@pytest.mark.chaos
def test_kill_9_of_a_shard(workers: Workers, job: Job, sandbox: Sandbox, tmp_path: Path) -> None:
    """Only that one starts again: its run is Crashed, and a third one Completed."""
    since = datetime.now(UTC)
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_condition(lambda: well_on_its_way(workers, sandbox), "calls of both workers")
    (other,) = workers.shards("two")
    os.kill(workers.shards("one")[0], signal.SIGKILL)
    time.sleep(1)
    assert workers.shards("two") == [other]
    _, complained = process.communicate(timeout=240)

    assert process.returncode == 0, complained
    assert whole(sandbox, twice=THREADS)
    states = sorted(str(run.state_name) for run in shard_runs(since))
    assert states == ["Completed", "Completed", "Crashed"]
    leave_nothing(workers, since, {"Completed", "Crashed"})


@pytest.mark.chaos
@pytest.mark.parametrize("nanny", [False, True])
def test_kill_9_of_a_worker(
    workers: Workers, job: Job, sandbox: Sandbox, tmp_path: Path, *, nanny: bool
) -> None:
    """The shard of each sends nothing after a second and goes, with its folder; the run completes."""
    workers.kill("one")
    # Whether alone or under Dask's nanny, which starts it again.
    workers.start("one", options=() if nanny else ("--no-nanny",))
    since = datetime.now(UTC)
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_condition(lambda: well_on_its_way(workers, sandbox), "calls of both workers")
    shards = [*workers.shards("one"), *([] if nanny else workers.shards("two"))]
    for shard in shards:
        os.kill(parent_of(shard), signal.SIGKILL)
    if not nanny:
        assert sends_until(sandbox, 1) == 0
    await_condition(lambda: not any(map(alive, shards)), "the shards are gone", _GRACE)
    workers.start("one", "two")
    _, complained = process.communicate(timeout=240)

    assert process.returncode == 0, complained
    assert whole(sandbox, twice=SHARDS * THREADS)
    leave_nothing(workers, since, {"Completed"})
    workers.kill("one")


def alive(pid: int) -> bool:
    """Whether it is there, and not only because nobody has asked how it ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.chaos  # Prefect on SQLite may stall for a minute when all end at once on a busy machine
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_run_takes_its_workers_along(
    workers: Workers, job: Job, sandbox: Sandbox, tmp_path: Path, number: int
) -> None:
    """The workers' shards end in order within two seconds and are Cancelled, without a traceback."""
    since, told = datetime.now(UTC), workers.logs().count("Traceback")
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_condition(lambda: well_on_its_way(workers, sandbox), "calls of both workers")
    process.send_signal(number)
    assert sends_until(sandbox, 2) == 0
    _, complained = process.communicate(timeout=180)

    assert sandbox.stats()["requests"] < INPUTS * CHECKS
    assert (sandbox.stats()["abandoned"], sandbox.stats()["billed_twice"]) == (0, 0)
    leave_nothing(workers, since, {"Cancelled"})
    assert workers.logs().count("Traceback") == told
    assert "Traceback" not in complained


@pytest.mark.chaos
def test_kill_9_of_the_scheduler(
    workers: Workers, job: Job, sandbox: Sandbox, tmp_path: Path
) -> None:
    """All shards stop; scheduler and workers come back, as systemd brings them, and all is done."""
    since = datetime.now(UTC)
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_condition(lambda: well_on_its_way(workers, sandbox), "calls of both workers")
    workers.kill("scheduler")
    assert sends_until(sandbox, 1) == 0
    for name in ("one", "two"):
        workers.started[name].wait(30)
    workers.start_scheduler()
    workers.start("one", "two")
    _, complained = process.communicate(timeout=240)

    assert process.returncode == 0, complained
    assert whole(sandbox, twice=0)
    leave_nothing(workers, since, {"Completed", "Crashed"})


@pytest.mark.chaos
@pytest.mark.parametrize("stopped", [False, True])
def test_scheduler_that_never_comes_back(
    workers: Workers, make_job: MakeJob, sandbox: Sandbox, tmp_path: Path, database: str,
    *, stopped: bool,
) -> None:  # fmt: skip
    """The run waits as long as its settings say, once for all shards, and ends with gaps; or at a stop."""
    sandbox.control(quota=[f"{QUOTA}/{WINDOW}s"], latency=0.2)
    patience = 300 if stopped else 10
    job = make_job(text(sandbox, workers.address, database, patience))
    since = datetime.now(UTC)
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_condition(lambda: well_on_its_way(workers, sandbox), "calls of both workers")
    workers.kill("scheduler")
    await_condition(lambda: nobody_works(workers), "shards gone", _GRACE)
    gone, asked = time.monotonic(), sandbox.stats()["requests"]
    if stopped:
        time.sleep(8)  # the client has given up, and the port is waited for
        process.send_signal(signal.SIGTERM)
    _, complained = process.communicate(timeout=120)

    assert process.returncode == (-signal.SIGTERM if stopped else 3), complained
    assert time.monotonic() - gone < 60
    assert stopped or "has been away for" in complained or "shard_lost" in complained
    assert sandbox.stats()["requests"] == asked
    leave_nothing(workers, since, {"Cancelled", "Crashed"})


def worker_without(name: str) -> dict[str, Any]:
    """How a worker is started that cannot do the shards of a run."""
    return {
        "foreign": {"place": ""},
        "other version": {"place": "nightly-review-0.0.1"},
        "no keys": {"less": [*KEYS]},
        "lends none": {"NIGHTLY_REVIEW_KEYS": "OTHER_*"},
    }[name]


@pytest.mark.chaos
@pytest.mark.parametrize(
    "useless",
    [
        ("no worker", "no worker with nightly-review-"),
        ("foreign", "no worker with nightly-review-"),
        ("other version", "no worker with nightly-review-"),
        ("no keys", "KEY_A"),
        ("lends none", "is not a key that this worker lends"),
    ],
)
def test_workers_of_no_use(
    all_workers: Workers, job: Job, sandbox: Sandbox, tmp_path: Path, useless: tuple[str, str]
) -> None:
    """A sentence says what is missing; no worker dies of it, none logs an input, and nothing is sent."""
    worker, said = useless
    for name in ("one", "two"):
        if name in all_workers.started:
            all_workers.kill(name)
    if all_workers.started["scheduler"].poll() is not None:
        all_workers.start_scheduler()
    if worker != "no worker":
        all_workers.start("useless", **worker_without(worker))
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS), "--verbose", under=["env"])
    assert isinstance(process, subprocess.Popen)
    found: list[str] = []
    for line in process.stderr or ():
        found.append(line)
        if said in line:
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)

    assert any(said in line for line in found), found
    assert sandbox.stats()["requests"] == 0
    assert "def f" not in all_workers.logs()
    if worker != "no worker":
        assert all_workers.started["useless"].poll() is None
        all_workers.kill("useless")


@pytest.mark.chaos
@pytest.mark.parametrize("how", ["SIGTERM", "lifetime"])
def test_worker_that_leaves(
    workers: Workers, job: Job, sandbox: Sandbox, tmp_path: Path, how: str
) -> None:
    """Its shard ends in order and begins elsewhere: nothing is paid twice."""
    if how == "lifetime":
        workers.kill("one")
        workers.start("one", options=("--no-nanny", "--lifetime", "25s"))
    since = datetime.now(UTC)
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_condition(lambda: well_on_its_way(workers, sandbox), "calls of both workers")
    (shard,) = workers.shards("one")
    if how == "SIGTERM":
        workers.tell("one", signal.SIGTERM)
    workers.started["one"].wait(60)
    assert not alive(shard)  # systemd kills what a service leaves
    _, complained = process.communicate(timeout=240)

    assert process.returncode == 0, complained
    assert whole(sandbox, twice=0)
    leave_nothing(workers, since, {"Completed"})


@pytest.mark.chaos
@pytest.mark.parametrize("ttl", ["5 minutes", "20 seconds"])
def test_worker_that_stands_still(
    all_workers: Workers, make_job: MakeJob, sandbox: Sandbox, tmp_path: Path, database: str,
    *, ttl: str,
) -> None:  # fmt: skip
    """SIGSTOP of a machine for 60 s: it goes on, or its shard has begun elsewhere; the quota is kept."""
    sandbox.control(quota=[f"{QUOTA}/{WINDOW}s"], latency=0.2)
    patient = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": ttl}
    machines = replace(
        all_workers, folder=tmp_path / "machines", port=free_port(), started={},
        environment=all_workers.environment | patient,
    )  # fmt: skip
    machines.start_scheduler()
    machines.start("one", "two")
    since = datetime.now(UTC)
    try:
        job = make_job(text(sandbox, machines.address, database))
        process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
        await_condition(lambda: well_on_its_way(machines, sandbox), "calls of both workers")
        pids = [*machines.shards("one"), machines.started["one"].pid]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(60)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        _, complained = process.communicate(timeout=240)
        assert process.returncode == 0, complained
        assert whole(sandbox, twice=THREADS)
        leave_nothing(machines, since, {"Completed", "Crashed"})
    finally:
        machines.stop()


@pytest.mark.chaos
def test_delivered_shards_never_begin_again(
    workers: Workers, make_job: MakeJob, sandbox: Sandbox, tmp_path: Path, database: str
) -> None:
    """A machine dies when one of three shards is finished: three shards begin, and the lost one again."""
    sandbox.control(quota=[f"{QUOTA}/{WINDOW}s"], latency=0.2)
    three = text(sandbox, workers.address, database).replace("shards = 2", "shards = 3")
    job = make_job(three)
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS), "--verbose")
    done = job.output / ".work"
    await_condition(lambda: bool(list(done.glob("*/*/done.json"))), "a shard was delivered")
    await_condition(lambda: bool(busy(workers)), "the third is at work")
    workers.kill(busy(workers)[0])
    _, complained = process.communicate(timeout=240)

    assert process.returncode == 0, complained
    assert complained.count(" is on ") == 4
    assert whole(sandbox, twice=THREADS)


@pytest.mark.chaos
def test_no_secret_is_in_the_schedulers_memory(
    workers: Workers, job: Job, sandbox: Sandbox, tmp_path: Path
) -> None:
    """While shards are at work: no key, and no login of Prefect's server."""
    login = workers.environment["PREFECT_API_AUTH_STRING"]
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_condition(lambda: well_on_its_way(workers, sandbox), "calls of both workers")
    memory = memory_of(workers.started["scheduler"].pid)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)

    assert b"shard-000" in memory
    assert not [one for one in (*KEYS.values(), login) if one.encode() in memory]


def memory_of(pid: int) -> bytes:
    """What a process has written to, as far as it can be read."""
    found = []
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            area, rights, *_ = line.split()
            if rights.startswith("rw"):
                first, last = (int(part, 16) for part in area.split("-"))
                with suppress(OSError, ValueError):
                    memory.seek(first)
                    found.append(memory.read(last - first))
    return b"".join(found)


def authority(folder: Path) -> dict[str, str]:
    """A new authority and a certificate of it, by the documented commands; the variables that name them."""
    folder.mkdir()
    for command in (
        "req -x509 -newkey rsa:3072 -noenc -days 3650 -subj /CN=nightly-review-ca -keyout ca.key -out ca.pem",
        "req -newkey rsa:3072 -noenc -subj /CN=node -keyout node.key -out node.csr",
        "x509 -req -in node.csr -CA ca.pem -CAkey ca.key -days 365 -out node.pem",
    ):
        subprocess.run(
            ["openssl", *command.split()], cwd=folder, check=True, capture_output=True, timeout=60
        )
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    made = {f"{tls}CA_FILE": str(folder / "ca.pem")}
    made["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] = "true"
    for part in ("SCHEDULER", "WORKER", "CLIENT"):
        made[f"{tls}{part}__CERT"] = str(folder / "node.pem")
        made[f"{tls}{part}__KEY"] = str(folder / "node.key")
    return made


@pytest.mark.chaos
def test_only_certificates_of_the_own_authority_count(
    all_workers: Workers, make_job: MakeJob, sandbox: Sandbox, tmp_path: Path, database: str
) -> None:
    """A whole run over TLS; another authority's certificate, none, and plain TCP are refused, in a sentence."""
    ours, theirs = authority(tmp_path / "ours"), authority(tmp_path / "theirs")
    secured = replace(
        all_workers, folder=tmp_path / "secured", port=free_port(), started={}, scheme="tls",
        environment=all_workers.environment | ours,
    )  # fmt: skip
    source = numbered(tmp_path / "inputs.jsonl", 4)
    secured.start_scheduler()
    secured.start("one", "two")
    try:
        job = make_job(text(sandbox, secured.address, database))
        for unknown in (theirs, {}):
            refused = job.using(unknown).command(source)
            assert refused.code == 2, refused.err
            assert "[workers] scheduler tls://127.0.0.1" in refused.err
            assert "Traceback" not in refused.err
        plain = make_job(text(sandbox, secured.address.replace("tls", "tcp"), database))
        assert plain.command(source).code == 2
        assert sandbox.stats()["requests"] == 0
        ended = make_job(text(sandbox, secured.address, database)).using(ours).command(source)
        assert ended.code == 0, ended.err
    finally:
        secured.stop()


@pytest.mark.chaos
def test_prefects_server_that_is_gone_for_good(
    all_workers: Workers, make_job: MakeJob, sandbox: Sandbox, tmp_path: Path, database: str
) -> None:
    """Its kill -9 midway stops nothing: every answer is there, nothing is paid twice, the run says so."""
    sandbox.control(quota=[f"{QUOTA}/{WINDOW}s"], latency=0.2)
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    own = server_login(new_login(), origin) | {"PREFECT_API_URL": f"{origin}/api"}
    own |= {"PREFECT_HOME": str(tmp_path / "server")}
    machines = replace(
        all_workers, folder=tmp_path / "machines", port=free_port(), started={},
        environment=all_workers.environment | own,
    )  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-m", "flows.ui.server", "127.0.0.1", str(port)],
        env=machines.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    machines.start_scheduler()
    machines.start("one", "two")
    try:
        await_condition(lambda: answers(port), "Prefect's server")
        job = make_job(text(sandbox, machines.address, database)).using(own)
        process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
        await_condition(lambda: well_on_its_way(machines, sandbox), "calls of both workers")
        server.kill()
        said, complained = process.communicate(timeout=240)
    finally:
        server.kill()
        server.wait(60)
        machines.stop()

    assert process.returncode == 0, said + complained
    assert whole(sandbox, twice=0)
    assert "its UI does not show the end" in complained


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
