"""Somebody is told to leave, and does so in order: the run, or a worker."""

from __future__ import annotations

import os
import re
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from distributed import Client

from deployments.sandbox import Sandbox
from tests.conftest import Job
from tests.operations.workers.dask_workers import Workers, alive
from tests.operations.workers.nights import (
    CHECKS,
    INPUTS,
    assert_whole,
    assert_within,
    await_calls,
    completes,
    last_send,
    leave_nothing,
)
from tests.runs import await_condition, numbered


@pytest.mark.chaos  # Prefect on SQLite may stall for a minute when all end at once on a busy machine
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_run_takes_its_workers_along(
    workers: Workers, job: Job, tight: Sandbox, tmp_path: Path, number: int
) -> None:
    """The workers' shards end in order within two seconds and are Cancelled, without a traceback."""
    since, told = datetime.now(UTC), workers.logs().count("Traceback")
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_calls(workers, tight)
    at = time.time()
    process.send_signal(signal.Signals(number))
    sent = last_send(workers, tight, at)
    _, complained = process.communicate(timeout=180)

    assert tight.stats()["requests"] < INPUTS * CHECKS
    assert (tight.stats()["abandoned"], tight.stats()["billed_twice"]) == (0, 0)
    leave_nothing(workers, since, {"Cancelled"})
    assert workers.logs().count("Traceback") == told
    assert "Traceback" not in complained
    assert_within(2, sent, f"signal {number} to the run: last send")


@pytest.mark.chaos
def test_shard_that_is_told_to_stop_as_it_begins(
    workers: Workers, job: Job, tight: Sandbox, tmp_path: Path
) -> None:
    """Its flow run is made and not entered, and the run is gone: it is Crashed, and not Pending for ever."""
    workers.kill("two")
    since = datetime.now(UTC)
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_condition(lambda: bool(workers.shards("one")), "the process of a shard")
    (shard,) = workers.shards("one")
    _await_flow_run(workers.folder / "one" / "tmp")
    os.kill(shard, signal.SIGSTOP)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    await_condition(lambda: _is_told(shard), "its worker tells it to stop")
    os.kill(shard, signal.SIGCONT)
    leave_nothing(workers, since, {"Crashed"})
    assert tight.stats()["requests"] == 0


def _await_flow_run(folder: Path) -> None:
    """Wait until the id of a shard's flow run is below the folder, and not 20 ms longer."""
    deadline = time.monotonic() + 60
    while not list(folder.glob("review-shard-*/*/*/*/*/flow_run.txt")):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _is_told(pid: int) -> bool:
    """Whether SIGTERM waits for a process that is stopped."""
    (waiting,) = re.findall(r"ShdPnd:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(waiting, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.chaos
@pytest.mark.parametrize("how", ["SIGTERM", "lifetime", "retire_workers"])
def test_worker_that_leaves(
    workers: Workers, job: Job, tight: Sandbox, tmp_path: Path, how: str
) -> None:
    """Its shard ends in order and begins elsewhere: nothing is paid twice."""
    if how == "lifetime":
        workers.kill("one")
        workers.start("one", options=("--no-nanny", "--lifetime", "25s"))
    since = datetime.now(UTC)
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_calls(workers, tight)
    (shard,) = workers.shards("one")
    if how == "SIGTERM":
        workers.tell("one", signal.SIGTERM)
    if how == "retire_workers":
        _retire(workers.address, "one")
    workers.started["one"].wait(60)
    assert not alive(shard)  # systemd kills what a service leaves
    completes(process)
    assert_whole(tight, twice=0)
    leave_nothing(workers, since, {"Completed"})


def _retire(scheduler: str, worker: str) -> None:
    """As whoever scales the machines down."""
    with Client(scheduler, timeout=10, set_as_default=False) as client:
        found = client.scheduler_info()["workers"].items()
        client.retire_workers([address for address, one in found if one["name"] == worker])
