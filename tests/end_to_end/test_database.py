"""A run whose journal and ledger are in PostgreSQL, on one machine: killed, run again, asked again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from deployments.sandbox import Sandbox
from tests.conftest import Job
from tests.postgres import Postgres
from tests.runs import await_condition, config, numbered

INPUTS = 60
CHECKS = 2
IN_FLIGHT = 12
"""Two processes of six threads: no more calls than that are ever under way."""
QUOTA = 40
"""Requests per app_id and 3 s."""


def test_killed_with_9_on_a_database_that_restarts(
    sandbox: Sandbox,
    make_job: Callable[..., Job],
    postgres_server: Postgres,
    database: str,
    tmp_path: Path,
) -> None:
    """
    All processes are killed, the same command completes the run while the database restarts, and
    a third run makes no call: the window holds over all three, and only what was in flight is paid twice.
    """
    sandbox.control(latency=0.1, quota=[f"{QUOTA}/3s"])
    source = numbered(tmp_path / "inputs.jsonl", INPUTS)
    text = config(sandbox).replace('state = "state"', f'state = "{database}"')
    job = make_job(text.replace("quota = []", f'quota = ["{QUOTA}/3s"]'))

    process = job.start(source)
    await_condition(lambda: sandbox.stats()["requests"] >= INPUTS * CHECKS // 3, "a third")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    seen = sandbox.stats()["requests"]

    process = job.start(source)
    await_condition(lambda: sandbox.stats()["requests"] > seen, "the second run calls")
    postgres_server.restart()
    said, complained = process.communicate(timeout=180)
    assert process.returncode == 0, complained
    assert "complete" in said

    seen = sandbox.stats()
    assert seen["bodies"] == INPUTS * CHECKS
    assert seen["billed_twice"] <= IN_FLIGHT
    assert seen["refused"] == 0
    peaks = [key["windows"][0]["peak_arrived"] for key in seen["keys"].values()]
    assert peaks
    assert max(peaks) <= QUOTA
    assert not (job.folder / "state").exists()

    # What one process needs is what two have left.
    review = job.folder / "review.toml"
    review.write_text(review.read_text().replace("processes = 2", "processes = 1"))
    again = job.run(source, output=job.folder / "again")
    assert again.code == 0, again.err
    assert sandbox.stats()["requests"] == seen["requests"]
