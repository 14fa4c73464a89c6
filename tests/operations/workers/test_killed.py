"""Somebody is killed with -9: a machine, a worker, a shard, the run, the scheduler."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployments.sandbox import Sandbox
from tests.conftest import KEYS, Job
from tests.operations.workers.dask_workers import Workers, alive, parent_of
from tests.operations.workers.nights import (
    GRACE,
    INPUTS,
    SHARDS,
    THREADS,
    MakeJob,
    assert_whole,
    assert_within,
    at_most,
    await_calls,
    completes,
    last_send,
    leave_nothing,
    manifest,
    once,
    review_toml,
    seconds_until,
    shard_runs,
    well_on_its_way,
)
from tests.runs import await_condition, numbered


def test_kill_9_of_a_machine(workers: Workers, job: Job, tight: Sandbox, tmp_path: Path) -> None:
    """
    Two machines share one ledger, one dies, the other does its shard: the outputs are whole, no window
    had more than its quota, paid twice is at most what was in flight, every state is final, no folder
    is left, and neither scheduler nor worker has seen an input, a key or Prefect's login in the clear.
    """
    since = datetime.now(UTC)
    with (
        at_most(240, workers),
        once(lambda: well_on_its_way(workers, tight), lambda: workers.kill("one")),
    ):
        ended = job.run(numbered(tmp_path / "inputs.jsonl", INPUTS))

    assert ended.code == 0, ended.err
    assert_whole(tight, twice=THREADS)
    assert manifest(job)["complete"]
    states = [run.state_name for run in shard_runs(since)]
    assert states == ["Completed"] * SHARDS
    assert workers.left() == []
    said = ended.out + ended.err + workers.logs()
    assert "def f" not in said
    assert not any(
        secret in said for secret in (*KEYS.values(), os.environ["PREFECT_API_AUTH_STRING"])
    )
    assert "distributed" not in ended.out + ended.err


@pytest.mark.chaos
def test_a_dead_machines_shard_is_elsewhere_within_seconds(
    workers: Workers, job: Job, tight: Sandbox, tmp_path: Path
) -> None:
    """Another machine has a place: it has begun the shard in five seconds, and calls for it."""
    workers.kill("two")
    workers.start("two", places=2)
    workers.await_places(3)
    since = datetime.now(UTC)
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_calls(workers, tight)
    port = int(tight.root.rpartition(":")[2])
    (own,) = workers.shards("two")
    at = workers.kill("one")
    begun = seconds_until(lambda: len(workers.shards("two")) > 1, at, "a second shard")
    (other,) = {*workers.shards("two")} - {own}
    calling = seconds_until(lambda: _calls(other, port), at, "its calls")
    completes(process)
    assert_whole(tight, twice=THREADS)
    leave_nothing(workers, since, {"Completed"})
    # How long a process takes to start, 1.5 s of CPU, says how busy the machine is.
    print(f"kill -9 of a machine: its shard calls from elsewhere after {calling:.1f} s")
    assert_within(5, begun, "kill -9 of a machine: its shard has a process elsewhere")


def _calls(pid: int, port: int) -> bool:
    """Whether a process has a connection to a port of this machine."""
    wanted = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[2].rpartition(":")[2], 16) == port and fields[3] == "01":
            wanted.add(f"socket:[{fields[9]}]")
    with suppress(OSError):
        return any(str(fd.readlink()) in wanted for fd in Path(f"/proc/{pid}/fd").iterdir())
    return False


@pytest.mark.chaos
def test_kill_9_of_the_parent(workers: Workers, job: Job, tight: Sandbox, tmp_path: Path) -> None:
    """Its shards stop within a second, untold; the rerun completes and pays twice what was in flight."""
    since, source = datetime.now(UTC), numbered(tmp_path / "inputs.jsonl", INPUTS)
    process = job.start(source)
    await_calls(workers, tight)
    at = time.time()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)

    assert_within(1, last_send(workers, tight, at), "kill -9 of the run: last send")
    leave_nothing(workers, since, {"Crashed"})
    ended = job.command(source)
    assert ended.code == 0, ended.err
    assert_whole(tight, twice=SHARDS * THREADS)


@pytest.mark.chaos
def test_kill_9_of_a_parent_whose_shards_wait(
    workers: Workers, job: Job, tight: Sandbox, tmp_path: Path
) -> None:
    """A shard that had no place yet leaves no flow run behind: nothing stays Pending."""
    workers.kill("two")
    since, source = datetime.now(UTC), numbered(tmp_path / "inputs.jsonl", INPUTS)
    process = job.start(source)
    await_condition(lambda: tight.stats()["requests"] > THREADS, "calls of one worker")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)

    leave_nothing(workers, since, {"Crashed"})
    assert len(shard_runs(since)) == 1


@pytest.mark.chaos
def test_kill_9_of_a_shard(workers: Workers, job: Job, tight: Sandbox, tmp_path: Path) -> None:
    """Only that one starts again: its run is Crashed, and a third one Completed."""
    since = datetime.now(UTC)
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_calls(workers, tight)
    (other,) = workers.shards("two")
    os.kill(workers.shards("one")[0], signal.SIGKILL)
    time.sleep(1)
    assert workers.shards("two") == [other]
    completes(process)
    assert_whole(tight, twice=THREADS)
    states = sorted(str(run.state_name) for run in shard_runs(since))
    assert states == ["Completed", "Completed", "Crashed"]
    leave_nothing(workers, since, {"Completed", "Crashed"})


@pytest.mark.chaos
@pytest.mark.parametrize("nanny", [False, True])
def test_kill_9_of_a_worker(
    workers: Workers, job: Job, tight: Sandbox, tmp_path: Path, *, nanny: bool
) -> None:
    """The shard of each sends nothing after a second and goes, with its folder; the run completes."""
    workers.kill("one")
    # Whether alone or under Dask's nanny, which starts it again.
    workers.start("one", options=() if nanny else ("--no-nanny",))
    since = datetime.now(UTC)
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_calls(workers, tight)
    shards = [*workers.shards("one"), *([] if nanny else workers.shards("two"))]
    at = time.time()
    for shard in shards:
        os.kill(parent_of(shard), signal.SIGKILL)
    gone = seconds_until(lambda: not any(map(alive, shards)), at, "the shards are gone", GRACE)
    sent = 0.0 if nanny else last_send(workers, tight, at)  # the other one's go on
    workers.start("one", "two")
    completes(process)
    assert_whole(tight, twice=SHARDS * THREADS)
    leave_nothing(workers, since, {"Completed"})
    how = f"kill -9 of a worker {'under its nanny' if nanny else 'alone'}"
    assert_within(1, sent, f"{how}: last send")
    assert_within(2, gone, f"{how}: its shards are gone")


@pytest.mark.chaos
def test_kill_9_of_the_scheduler(
    workers: Workers, job: Job, tight: Sandbox, tmp_path: Path
) -> None:
    """All shards stop; scheduler and workers come back, as systemd brings them, and all is done."""
    since = datetime.now(UTC)
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_calls(workers, tight)
    at = workers.kill("scheduler")
    for name in ("one", "two"):
        workers.started[name].wait(60)
    sent = last_send(workers, tight, at)
    workers.start_scheduler()
    workers.start("one", "two")
    completes(process)
    assert_whole(tight, twice=0)
    leave_nothing(workers, since, {"Completed", "Crashed"})
    assert_within(1, sent, "kill -9 of the scheduler: last send")


@pytest.mark.chaos
def test_delivered_shards_never_begin_again(
    workers: Workers, make_job: MakeJob, tight: Sandbox, tmp_path: Path, database: str
) -> None:
    """A machine dies when one of three shards is finished: three shards begin, and the lost one again."""
    three = review_toml(tight.base_url, workers.address, database)
    job = make_job(three.replace("shards = 2", "shards = 3"))
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS), "--verbose")
    done = job.output / ".work"
    await_condition(lambda: bool(list(done.glob("*/*/done.json"))), "a shard was delivered")
    await_condition(lambda: bool(_busy(workers)), "the third is at work")
    workers.kill(_busy(workers)[0])
    log = completes(process)
    assert log.count(" is on ") == 4
    assert_whole(tight, twice=THREADS)


def _busy(workers: Workers) -> list[str]:
    """Names of the workers that have a shard in work."""
    return [name for name in ("one", "two") if workers.shards(name)]
