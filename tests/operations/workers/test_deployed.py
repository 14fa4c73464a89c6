"""A run over Dask's workers that a Prefect worker has started: it is killed, or cancelled in the UI."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from prefect.client.schemas.objects import FlowRun

from deployments.sandbox import Sandbox
from tests.browser import needs_browser
from tests.conftest import KEYS
from tests.operations.browser import open_page
from tests.operations.stack import Operator
from tests.operations.workers.dask_workers import Workers
from tests.operations.workers.nights import (
    CHECKS,
    INPUTS,
    SHARDS,
    assert_within,
    await_calls,
    last_send,
    review_toml,
)
from tests.runs import await_condition, free_port, numbered, working_in

pytestmark = pytest.mark.chaos

_INPUTS = 10 * INPUTS
"""Two minutes of calls: a browser takes its time."""


@dataclass(frozen=True, slots=True)
class Night:
    """A run of the deployment `adhoc` whose shards are with two of Dask's workers."""

    operator: Operator
    workers: Workers
    run: FlowRun

    def states(self) -> set[str]:
        """Of its shards' flow runs."""
        runs = self.operator.shards(self.run)
        assert len(runs) == SHARDS
        return {str(run.state_name) for run in runs}

    def process(self) -> int:
        """The process that Prefect's worker has started."""
        return int(str(self.operator.read(self.run).infrastructure_pid).rpartition(":")[2])


@pytest.fixture
def night(
    operator: Operator, all_workers: Workers, tight: Sandbox, database: str, tmp_path: Path
) -> Iterator[Night]:
    """It is well on its way."""
    machines = replace(
        all_workers, folder=tmp_path / "machines", port=free_port(), started={},
        environment=all_workers.environment | operator.stack.environment | KEYS,
    )  # fmt: skip
    config = tmp_path / "review.toml"
    config.write_text(review_toml(tight.base_url, machines.address, database))
    source = numbered(tmp_path / "inputs.jsonl", _INPUTS)
    try:
        machines.start_scheduler()
        machines.start("one", "two")
        machines.await_places(2)
        run = operator.start("adhoc", tmp_path.name, str(source), str(config))
        await_calls(machines, tight)
        yield Night(operator, machines, run)
    finally:
        machines.stop()


def test_kill_9_of_a_deployed_run(night: Night, tight: Sandbox) -> None:
    """Nobody sends anything after a second; Prefect's worker says Crashed, and so do the shards."""
    at = time.time()
    os.kill(night.process(), signal.SIGKILL)
    sent = last_send(night.workers, tight, at)
    ended = night.operator.ended(night.run)

    assert ended.state_name == "Crashed"
    # A shard whose report Prefect's server was too busy to take is found by its missed heartbeats.
    await_condition(lambda: night.states() == {"Crashed"}, "all are Crashed", 150)
    assert tight.stats()["requests"] < _INPUTS * CHECKS
    assert_within(1, sent, "kill -9 of a deployed run: last send")


@needs_browser
def test_cancel_in_the_ui(night: Night, tight: Sandbox) -> None:
    """In the browser: calls in flight end, nothing is sent after that, and all of it is Cancelled."""
    with open_page(night.operator) as page:
        at = page.cancel(f"/runs/flow-run/{night.run.id}", shot="cancel")
    sent = last_send(night.workers, tight, at)
    ended = night.operator.ended(night.run)

    assert ended.state_name == "Cancelled"
    assert night.states() == {"Cancelled"}
    assert (tight.stats()["abandoned"], tight.stats()["billed_twice"]) == (0, 0)
    assert tight.stats()["requests"] < _INPUTS * CHECKS
    assert not working_in(night.operator.folder)
    assert_within(2, sent, "cancel in the UI: last send")
