"""Somebody is gone, or stands still: the scheduler, a worker, Prefect's server, the database."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prefect.settings import temporary_settings

from deployments.sandbox import Sandbox
from tests.operations.workers.conftest import OwnServer, OwnWorkers
from tests.operations.workers.dask_workers import Workers
from tests.operations.workers.nights import (
    CHECKS,
    GRACE,
    INPUTS,
    SHARDS,
    THREADS,
    MakeJob,
    assert_whole,
    await_calls,
    completes,
    leave_nothing,
    manifest,
    review_toml,
    shard_runs,
)
from tests.postgres import start_postgres
from tests.runs import await_condition, free_port, numbered


@pytest.mark.chaos
@pytest.mark.parametrize("stopped", [False, True])
def test_scheduler_that_never_comes_back(
    workers: Workers, make_job: MakeJob, tight: Sandbox, tmp_path: Path, database: str,
    *, stopped: bool,
) -> None:  # fmt: skip
    """The run waits as long as its settings say, once for all shards, and ends with gaps; or at a stop."""
    patience = 300 if stopped else 10
    job = make_job(review_toml(tight.base_url, workers.address, database, patience))
    since = datetime.now(UTC)
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_calls(workers, tight)
    workers.kill("scheduler")
    await_condition(workers.is_idle, "shards gone", GRACE)
    gone, asked = time.monotonic(), tight.stats()["requests"]
    if stopped:
        time.sleep(8)  # the client has given up, and the port is waited for
        process.send_signal(signal.SIGTERM)
    _, complained = process.communicate(timeout=120)

    assert process.returncode == (-signal.SIGTERM if stopped else 3), complained
    assert time.monotonic() - gone < 60
    assert stopped or "has been away for" in complained or "shard_lost" in complained
    assert tight.stats()["requests"] == asked
    leave_nothing(workers, since, {"Cancelled", "Crashed"})


@pytest.mark.chaos
@pytest.mark.parametrize("ttl", ["5 minutes", "20 seconds"])
def test_worker_that_stands_still(
    own_workers: OwnWorkers, make_job: MakeJob, tight: Sandbox, tmp_path: Path, database: str,
    *, ttl: str,
) -> None:  # fmt: skip
    """SIGSTOP of a machine for 60 s: it goes on, or its shard has begun elsewhere; the quota is kept."""
    since = datetime.now(UTC)
    with own_workers({"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": ttl}) as machines:
        job = make_job(review_toml(tight.base_url, machines.address, database))
        process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
        await_calls(machines, tight)
        pids = [*machines.shards("one"), machines.started["one"].pid]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(60)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        completes(process)
        assert_whole(tight, twice=THREADS)
        leave_nothing(machines, since, {"Completed", "Crashed"})


@pytest.mark.chaos
@pytest.mark.parametrize("when", ["at the start", "for a while", "for good"])
def test_prefects_server_that_is_gone(
    own_server: OwnServer, own_workers: OwnWorkers, make_job: MakeJob, tight: Sandbox,
    *, tmp_path: Path, database: str, when: str,
) -> None:  # fmt: skip
    """Its kill -9 stops nothing: every answer is there, nothing is paid twice, the run says so."""
    own = own_server.environment
    if when != "for a while":
        # Prefect's client tries each request for a minute by default, in case the server is restarted.
        own |= {"PREFECT_CLIENT_MAX_RETRIES": "1"}
    since = datetime.now(UTC)
    own_server.start()
    with own_workers(own) as machines:
        job = make_job(review_toml(tight.base_url, machines.address, database)).using(own)
        process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
        if when == "at the start":
            await_condition(lambda: not machines.is_idle(), "the process of a shard")
            assert tight.stats()["requests"] == 0
        else:
            await_calls(machines, tight)
        own_server.kill()
        if when == "for a while":
            time.sleep(5)
            own_server.start()
        log = completes(process)
        await_condition(machines.is_idle, "shards gone", GRACE)

    assert_whole(tight, twice=0)
    if when == "for a while":
        with temporary_settings(
            {"api.url": own["PREFECT_API_URL"], "api.auth_string": own_server.login}
        ):
            assert {run.state_name for run in shard_runs(since)} == {"Completed"}
    else:
        assert "its UI does not show the end" in log


@pytest.mark.chaos
def test_without_a_database_no_run_begins(
    workers: Workers, make_job: MakeJob, tight: Sandbox, tmp_path: Path
) -> None:
    """A sentence says what is missing, no call is made, and no worker dies of it."""
    nowhere = f"postgresql://postgres@127.0.0.1:{free_port()}/review"
    job = make_job(review_toml(tight.base_url, workers.address, nowhere))
    ended = job.command(numbered(tmp_path / "inputs.jsonl", INPUTS))

    _assert_told(ended.code, ended.out + ended.err)
    assert tight.stats()["requests"] == 0
    assert all(one.poll() is None for one in workers.started.values())


@pytest.mark.chaos
def test_a_database_that_goes_for_good(
    workers: Workers, make_job: MakeJob, tight: Sandbox, tmp_path: Path
) -> None:
    """The run ends with a sentence, no worker dies of it; with the database it completes."""
    since, source = datetime.now(UTC), numbered(tmp_path / "inputs.jsonl", INPUTS)
    with start_postgres() as server:
        job = make_job(review_toml(tight.base_url, workers.address, server.database()))
        process = job.start(source)
        await_calls(workers, tight)
        server.stop()
        said, complained = process.communicate(timeout=240)
        _assert_told(process.returncode, said + complained)
        leave_nothing(workers, since, {"Failed", "Crashed", "Cancelled"})
        assert all(one.poll() is None for one in workers.started.values())
        assert tight.stats()["requests"] < INPUTS * CHECKS

        server.restart()
        ended = job.command(source)
    assert ended.code == 0, ended.err
    assert_whole(tight, twice=SHARDS * THREADS)
    assert manifest(job)["complete"]


def _assert_told(code: int | None, said: str) -> None:
    assert code not in (0, None), said
    assert "the database failed" in said
    assert "start it, check user, host" in said
    assert "Traceback" not in said
