"""A run begins while its own Prefect server is still coming up; here somebody keeps that from coming up."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from deployments.sandbox import Sandbox
from flows.ui.server_database import make_database
from tasks.upstream.journal.recover import check
from tests.conftest import Job
from tests.runs import await_condition, config, group_is_gone, numbered, working_in

INPUTS = 40
CHECKS = 2

MakeJob = Callable[..., Job]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Prefect's home, with its database."""
    path = tmp_path / "home"
    make_database(path / "prefect.db")
    return path


@pytest.fixture
def job(make_job: MakeJob, sandbox: Sandbox, home: Path) -> Job:
    """A job without a server that is named."""
    return make_job(config(sandbox)).using({"PREFECT_HOME": str(home), "PREFECT_API_URL": ""})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Inputs that differ, so that each is a question of its own."""
    return numbered(tmp_path / "inputs.jsonl", INPUTS)


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Nobody else reads or writes the database: no server can start on it."""
    with closing(sqlite3.connect(home / "prefect.db", isolation_level=None)) as database:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        yield


def _rows(home: Path, question: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        return [tuple(map(str, row)) for row in database.execute(question)]


def test_calls_do_not_wait_for_prefect(
    sandbox: Sandbox, job: Job, home: Path, source: Path
) -> None:
    """Every call is made before there is a server, and the flow runs then show all that was done."""
    with _locked(home):
        process = job.start(source)
        await_condition(lambda: sandbox.stats()["answered"] == INPUTS * CHECKS, "all calls")
    said, complained = process.communicate(timeout=200)

    assert process.returncode == 0, complained
    assert f"complete: {INPUTS} of {INPUTS} inputs" in said
    assert sandbox.stats()["requests"] == INPUTS * CHECKS
    assert pq.read_table(job.output / "calls.parquet").num_rows == INPUTS * CHECKS
    runs = _rows(home, "SELECT name, state_type FROM flow_run")
    assert {state for _, state in runs} == {"COMPLETED"}
    assert len(runs) == 3
    tasks = dict(_rows(home, "SELECT name, state_type FROM task_run"))
    assert {"load", "shard", "merge", "write", "report"} <= tasks.keys()
    assert any(name.startswith("infer-") for name in tasks)
    assert set(tasks.values()) == {"COMPLETED"}
    lines = [line for (line,) in _rows(home, "SELECT message FROM log")]
    assert sum(line.startswith("calls of this shard") for line in lines) == 2
    assert "up to 6 calls in flight" in lines


def test_ctrl_c_before_there_is_a_server(
    sandbox: Sandbox, job: Job, home: Path, source: Path
) -> None:
    """Calls in flight are finished and journaled, no other one is begun, and nobody stays behind."""
    sandbox.control(latency=0.5)
    with _locked(home):
        process = job.start(source)
        await_condition(lambda: sandbox.stats()["requests"] >= 4, "first calls")
        os.killpg(process.pid, signal.SIGINT)
        _, complained = process.communicate(timeout=60)

    assert process.returncode == 130, complained
    assert "stopped; the answers so far are in the journal" in complained
    assert "Traceback" not in complained
    seen = sandbox.stats()
    assert (seen["abandoned"], seen["requests"] < INPUTS * CHECKS) == (0, True)
    assert check(job.folder / "state" / "journal.sqlite") == []
    await_condition(lambda: group_is_gone(process.pid), "children gone", 30)
    await_condition(lambda: not working_in(job.folder), "no process stays behind", 30)


@pytest.mark.chaos
def test_a_server_that_never_comes_up(sandbox: Sandbox, job: Job, home: Path, source: Path) -> None:
    """One line says so and what to do; what was paid meanwhile is in the journal."""
    sandbox.control(latency=0.5)
    (home / "prefect.db").write_bytes(b"no database" * 1000)
    process = job.start(source)
    _, complained = process.communicate(timeout=120)

    assert process.returncode == 2, complained
    assert "Prefect's embedded server did not start: start one with" in complained
    seen = sandbox.stats()
    assert (seen["abandoned"], seen["billed_twice"]) == (0, 0)
    assert check(job.folder / "state" / "journal.sqlite") == []
    await_condition(lambda: not working_in(job.folder), "no process stays behind", 30)
