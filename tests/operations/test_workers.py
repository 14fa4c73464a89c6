"""Shards on other machines: two real workers, each with a folder of its own, and one database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectAlreadyExists

from deployments.local import ROOT
from deployments.sandbox import Sandbox
from flows.remote_shard import remote_shard
from flows.setup.config import new_run
from flows.shards.remote.worker_sync import digests
from tasks.core.paths import ShardPaths
from tasks.core.settings import load_settings
from tasks.outputs.shared_folder import open_shared_folder
from tests.conftest import KEYS, Job, PrefectServer
from tests.runs import await_condition, numbered, offspring

INPUTS, CHECKS, SHARDS, THREADS = 24, 2, 2, 4
QUOTA, WINDOW = 4, 2
LOST = 12
"""Seconds without a sign of life after which the other side is taken for dead."""

MakeJob = Callable[..., Job]

CONFIG = """
mode = "check"
processes = {shards}
shards = {shards}
threads = {threads}
state = "{state}"
margin = 0.1
[workers]
storage = "{storage}"
lost_after = {lost}
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


@dataclass(frozen=True, slots=True)
class Workers:
    """Machines, as far as one machine can play several: nothing is shared but server, state, storage."""

    folder: Path
    environment: dict[str, str]
    started: dict[str, subprocess.Popen[bytes]]

    def start(self, *names: str) -> None:
        """Start the workers that do not run, each in a folder of its own."""
        for name in names:
            if name not in self.started or self.started[name].poll() is not None:
                self.started[name] = self._start(name)

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        home = self.folder / name
        home.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "local"]
        with (home / "worker.log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--name", name, "--limit", "1"],
                cwd=home,
                env=self.environment | {"PREFECT_HOME": str(home)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def shards(self, name: str) -> list[int]:
        """Pids of the flow runs that a worker has in work."""
        return offspring(self.started[name].pid)

    def logs(self) -> str:
        """What the workers have said so far."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*/worker.log")))

    def kill(self, name: str) -> None:
        """The machine is gone: worker and shards, without a word."""
        for pid in [*self.shards(name), self.started[name].pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.started[name].wait()


@pytest.fixture(scope="module")
def all_workers(
    prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    """The deployment as prefect.yaml has it; nobody works on it yet."""
    ours = {"PYTHONPATH": str(ROOT), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    ours |= {"NIGHTLY_REVIEW_KEYS": "KEY_*"}
    kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    environment = kept | prefect_server.environment | KEYS | ours
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name="local", type="process"))
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--name", "shard"]
    subprocess.run(
        [*command, "--prefect-file", str(ROOT / "deployments" / "prefect.yaml")],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
    )
    made = Workers(tmp_path_factory.mktemp("workers"), environment, {})
    try:
        yield made
    finally:
        for name in made.started:
            made.kill(name)


@pytest.fixture
def workers(all_workers: Workers) -> Workers:
    """Both are at work."""
    all_workers.start("one", "two")
    return all_workers


@pytest.fixture
def job(make_job: MakeJob, sandbox: Sandbox, tmp_path: Path, state: str) -> Job:
    """A run whose windows are as tight as the sandbox's own."""
    sandbox.control(quota=[f"{QUOTA}/{WINDOW}s"], latency=0.2)
    text = CONFIG.format(
        shards=SHARDS, threads=THREADS, state=state, storage=tmp_path / "storage", lost=LOST,
        url=sandbox.base_url, quota=QUOTA, window=WINDOW,
    )  # fmt: skip
    return make_job(text)


@pytest.fixture
def state(database: str) -> str:
    return database


def kept(sandbox: Sandbox) -> bool:
    """Whether the upstream saw the quotas kept: it refused nothing, and no window had more."""
    seen = sandbox.stats()
    peaks = [window["peak_arrived"] for key in seen["keys"].values() for window in key["windows"]]
    return seen["refused"] == 0 and len(peaks) == len(KEYS) and max(peaks) <= QUOTA


def manifest(job: Job) -> dict[str, object]:
    return dict(json.loads((job.output / "manifest.json").read_text()))


def well_on_its_way(workers: Workers, sandbox: Sandbox) -> bool:
    """Both have a shard in work, and a quarter of the questions was asked."""
    at_work = workers.shards("one") and workers.shards("two")
    return bool(at_work) and sandbox.stats()["bodies"] > INPUTS * CHECKS / 4


@pytest.mark.chaos
def test_kill_9_of_a_machine(workers: Workers, job: Job, sandbox: Sandbox, tmp_path: Path) -> None:
    """
    Two machines share one ledger, one dies, the other does its shard: the outputs are whole, no window
    had more than its quota, paid twice is at most what was in flight, and storage is empty.
    """
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_condition(lambda: well_on_its_way(workers, sandbox), "calls of both workers")
    workers.kill("one")
    _, complained = process.communicate(timeout=240)

    assert process.returncode == 0, complained
    seen = sandbox.stats()
    assert seen["bodies"] == INPUTS * CHECKS
    assert seen["billed_twice"] <= THREADS
    assert kept(sandbox)
    assert manifest(job)["complete"]
    assert not list((tmp_path / "storage").iterdir())


@pytest.mark.chaos
def test_kill_9_of_the_parent(workers: Workers, job: Job, sandbox: Sandbox, tmp_path: Path) -> None:
    """Its shards leave without being told; the rerun completes and pays twice what was in flight."""
    source = numbered(tmp_path / "inputs.jsonl", INPUTS)
    process = job.start(source)
    await_condition(lambda: well_on_its_way(workers, sandbox), "calls of both workers")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    await_condition(
        lambda: not (workers.shards("one") or workers.shards("two")), "shards gone", 3 * LOST
    )

    ended = job.run(source)
    assert ended.code == 0, ended.err
    seen = sandbox.stats()
    assert seen["bodies"] == INPUTS * CHECKS
    assert seen["billed_twice"] <= SHARDS * THREADS
    assert kept(sandbox)
    assert not list((tmp_path / "storage").iterdir())


@pytest.mark.parametrize("changed", ["run.json", "inputs.jsonl", "the key's name"])
def test_who_writes_to_the_storage_gets_no_key(
    prefect_server: PrefectServer,  # noqa: ARG001 - it must be up
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: str,
) -> None:
    """Settings or inputs that the run did not write, or a key that the worker does not lend: no call."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-key-alpha-7d1f")
    text = CONFIG.format(
        shards=1, threads=1, state="postgresql://nobody@127.0.0.1:9/none", storage=tmp_path / "storage", lost=LOST,
        url=sandbox.base_url, quota=QUOTA, window=WINDOW,
    ).replace("KEY_A", "APP_ID_A").replace("KEY_B", "AWS_SECRET_ACCESS_KEY")  # fmt: skip
    shard = ShardPaths(tmp_path / "r1" / "shard-00")
    shard.root.mkdir(parents=True)
    new_run("r1", load_settings(text), fresh=False).write(shard.settings)
    shard.inputs.write_text('{"input_id": "1", "content": "x = 1"}\n')
    folder = open_shared_folder(str(tmp_path / "storage")).folder("r1").folder("shard-00")
    known = digests(shard)
    if not changed.startswith("the"):
        with (shard.root.parent / changed if changed == "run.json" else shard.inputs).open(
            "a"
        ) as f:
            f.write(" ")
    folder.upload(shard.settings)
    folder.upload(shard.inputs)
    folder.write_json("lease.json", {"attempt": "a1", "beat": 1})

    state = remote_shard(
        str(tmp_path / "storage"), "r1", "shard-00", "a1", known, return_state=True
    )

    assert state.is_failed()
    told = f"{changed} in [workers] storage is not what the run wrote there"
    if changed == "the key's name":
        told = "AWS_SECRET_ACCESS_KEY is not a key that this worker lends"
    heartbeat = folder.read_json("heartbeat-a1.json")
    assert told in str(state.message).replace("app_ids.bravo: env:", "")
    assert (heartbeat["ended"], heartbeat["words"]["lasting"]) == (True, True)
    assert sandbox.stats()["requests"] == 0


@pytest.mark.chaos  # Prefect on SQLite may stall for a minute when all end at once on a busy machine
def test_stopped_run_takes_its_workers_along(
    workers: Workers, job: Job, sandbox: Sandbox, tmp_path: Path
) -> None:
    """SIGTERM to the parent: the workers' shards end in order and are Cancelled, not lost."""
    earlier, told = {run.id for run in shard_runs()}, workers.logs().count("Traceback")
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_condition(lambda: well_on_its_way(workers, sandbox), "calls of both workers")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=180)
    await_condition(lambda: not (workers.shards("one") or workers.shards("two")), "shards gone")

    assert sandbox.stats()["requests"] < INPUTS * CHECKS
    assert sandbox.stats()["abandoned"] == 0
    ours = [run for run in shard_runs() if run.id not in earlier]
    assert [run.state_name for run in ours] == ["Cancelled"] * SHARDS
    assert workers.logs().count("Traceback") == told


def shard_runs() -> list[FlowRun]:
    """Flow runs of the deployment."""
    tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=["shard"]))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=tagged)
