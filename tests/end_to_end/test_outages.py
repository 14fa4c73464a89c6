"""What a run leans on goes away: Prefect's server, the upstream, every key."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest

from deployments.sandbox import Sandbox, start_sandbox
from flows.cli.main import main
from tests.conftest import KEYS, Job
from tests.runs import await_condition, config, named, numbered, working_in

INPUTS = 60
CELLS = 2 * INPUTS
SHARDS = 2

MakeJob = Callable[..., Job]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Inputs that differ, so that each is a question of its own."""
    return numbered(tmp_path / "inputs.jsonl", INPUTS)


def _flow_runs(home: Path) -> int:
    """How many the server has; a run makes calls before there are any."""
    place = f"{(home / 'prefect.db').as_uri()}?mode=ro"
    with suppress(sqlite3.Error), closing(sqlite3.connect(place, uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM flow_run").fetchone()[0])
    return 0


@pytest.mark.chaos
def test_prefects_server_dies_in_mid_run(
    sandbox: Sandbox, make_job: MakeJob, source: Path, tmp_path: Path
) -> None:
    """Its display is gone and nothing else: the outputs are whole, and the run says what happened."""
    sandbox.control(latency=2.0)
    home = tmp_path / "home"
    own = {"PREFECT_HOME": str(home), "PREFECT_API_URL": ""}
    # Prefect's client tries for a minute by default, in case the server is being restarted.
    own["PREFECT_CLIENT_MAX_RETRIES"] = "1"
    job = make_job(config(sandbox)).using(own)
    process = job.start(source)
    await_condition(lambda: _flow_runs(home) == 1 + SHARDS, "every shard has its flow run")
    (server,) = named("flows.ui.server", str(process.pid))
    os.kill(server, signal.SIGKILL)
    said, complained = process.communicate(timeout=200)
    assert process.returncode == 0, complained
    assert f"complete: {INPUTS} of {INPUTS} inputs" in said
    assert "Prefect's server was gone" in complained
    assert "Traceback" not in complained
    assert sandbox.stats()["billed"] == CELLS
    await_condition(lambda: not working_in(job.folder), "no process stays behind", 30)


@contextmanager
def closed_door(port: int) -> Iterator[list[int]]:
    """Takes connections at a port and drops them; counts them."""
    seen = [0]
    with socket.create_server(("127.0.0.1", port)) as server:

        def drop() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                seen[0] += 1
                connection.close()

        threading.Thread(target=drop, daemon=True).start()
        yield seen
        server.shutdown(socket.SHUT_RDWR)


def test_an_upstream_that_dies_in_mid_run(make_job: MakeJob, source: Path) -> None:
    """
    Nobody answers any more, so the run ends by itself: INCOMPLETE, each cell accounted for, with far
    fewer connections than cells. Once the upstream is there, a rerun pays only for the rest; both verify.
    """
    with start_sandbox(latency=0.2) as first:
        port = int(first.base_url.rpartition(":")[2].removesuffix("/v1"))
        job = make_job(config(first, head="give_up_after = 3"))
        process = job.start(source)
        await_condition(lambda: first.stats()["answered"] >= CELLS // 3, "a third is answered")
        os.kill(first.pid, signal.SIGKILL)
    with closed_door(port) as seen:
        said, complained = process.communicate(timeout=120)
    assert process.returncode == 3, complained
    assert "INCOMPLETE" in said
    calls = pd.read_parquet(job.output / "calls.parquet")
    paid = int((calls["status"] == "ok").sum())
    assert CELLS // 3 <= paid < CELLS
    assert len(calls) == CELLS
    failed = calls[calls["status"] == "failed"]
    assert len(failed) == CELLS - paid
    assert set(failed["reason"]) <= {"circuit_open", "reset", "connect"}
    assert 0 < seen[0] < len(failed) // 2
    assert main(["verify", str(job.output)]) == 3
    with start_sandbox(port) as second:
        ended = make_job(config(second, processes=1)).run(source)
        assert ended.code == 0, ended.err
        assert second.stats()["answered"] == CELLS - paid
    assert main(["verify", str(job.output)]) == 0


def test_all_keys_revoked(sandbox: Sandbox, make_job: MakeJob, source: Path) -> None:
    """The run stops at once, and says of each app_id why it is out."""
    sandbox.control(
        keys={
            "alpha": {"key": KEYS["KEY_A"], "state": "revoked"},
            "bravo": {"key": KEYS["KEY_B"], "state": "unpaid"},
        }
    )
    job = make_job(config(sandbox, processes=1))
    ended = job.run(source)
    assert ended.code == 3, ended.err
    assert "no_keys_left" in ended.out
    assert "alpha" in ended.out
    assert "unauthorized" in ended.out
    assert "bravo" in ended.out
    assert "insufficient_quota" in ended.out
    assert sandbox.stats()["requests"] <= 4 * 6
    reasons = pd.read_parquet(job.output / "calls.parquet")["reason"].value_counts()
    # A call that was under way on both keys may say why itself.
    assert set(reasons.index) <= {"no_keys_left", "unauthorized", "insufficient_quota"}
    assert reasons.sum() == CELLS
    assert reasons["no_keys_left"] >= CELLS - 6
