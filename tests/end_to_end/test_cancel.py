"""A run that is cancelled where no worker could tell it so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling

from deployments.sandbox import Sandbox
from flows.ui import cancel_watch
from tests.conftest import Job
from tests.runs import await_condition, config, numbered

INPUTS = 400

MakeJob = Callable[..., Job]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run looks more often than every ten seconds."""
    monkeypatch.setattr(cancel_watch, "EVERY", 0.5)


def _runs() -> list[FlowRun]:
    wanted = FlowRunFilter(name=FlowRunFilterName(like_="to-be-cancelled"))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=wanted)


@pytest.mark.usefixtures("often")
def test_a_cancelled_run_stops_by_itself(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path
) -> None:
    """Cancel in the UI of a run without a worker: its calls end, and so does it, as Cancelled."""
    sandbox.control(latency=0.5)
    job = make_job(config(sandbox))

    def cancel() -> int:
        await_condition(lambda: sandbox.stats()["requests"] > 2, "calls")
        (run,) = _runs()
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Cancelling())
        return int(sandbox.stats()["requests"])

    with ThreadPoolExecutor(1) as other:
        # Prefect knows its server by the context.
        asked = other.submit(copy_context().run, cancel)
        ended = job.run(numbered(tmp_path / "to-be-cancelled.jsonl", INPUTS))

    assert sandbox.stats()["requests"] < asked.result() + INPUTS / 2
    assert ended.code == 1
    assert "cancelled; the answers so far are in the journal" in ended.err
    states = {run.state.type.value for run in _runs() if run.state is not None}
    assert states == {"CANCELLED"}
