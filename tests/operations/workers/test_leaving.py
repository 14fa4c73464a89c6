"""Somebody is told to leave, and does so in order: the run, or a worker."""

from __future__ import annotations

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
from tests.runs import numbered


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
