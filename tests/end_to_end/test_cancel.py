"""A run that is cancelled where no worker could tell it so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.settings import temporary_settings
from prefect.states import Cancelling

from deployments.sandbox import Sandbox
from flows.ui import cancel_watch
from tasks.report.server_health import server_answers
from tests.conftest import Job
from tests.runs import await_condition, config, free_port, numbered

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

    assert sandbox.stats()["requests"] < asked.result(60) + INPUTS / 2
    assert ended.code == 1
    assert "cancelled; the answers so far are in the journal" in ended.err
    states = {run.state.type.value for run in _runs() if run.state is not None}
    assert states == {"CANCELLED"}


@contextmanager
def _server(port: int, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Prefect server with its database in `home`, killed with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.ui.server", "127.0.0.1", str(port)],
        env=os.environ | {"PREFECT_HOME": str(home), "PREFECT_API_URL": ""},
    )
    try:
        await_condition(server_answers, "the server answers")
        yield process
    finally:
        process.kill()
        process.wait(30)


@pytest.mark.chaos
def test_a_run_notices_it_after_a_restart_of_the_server(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path
) -> None:
    """The server is killed and comes back; Cancel then ends the calls of a run that lived through it."""
    sandbox.control(latency=0.5)
    port, home = free_port(), tmp_path / "home"
    url = f"http://127.0.0.1:{port}/api"
    job = make_job(config(sandbox)).using({"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": ""})
    source = numbered(tmp_path / "to-be-cancelled.jsonl", 4 * INPUTS)
    with temporary_settings({"api.url": url, "api.auth_string": None}):
        with _server(port, home):
            process = job.start(source)
            await_condition(lambda: sandbox.stats()["requests"] > 20, "calls")
        asked = int(sandbox.stats()["requests"])
        await_condition(lambda: sandbox.stats()["requests"] > asked + 40, "calls without a server")
        with _server(port, home):
            (run,) = _runs()
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(run.id, Cancelling())
            # A look every ten seconds, and what is in flight.
            said, complained = process.communicate(timeout=90)
            states = {run.state.type.value for run in _runs() if run.state is not None}
    assert process.returncode == 1, said
    assert "cancelled; the answers so far are in the journal" in complained
    assert states == {"CANCELLED"}
    assert sandbox.stats()["requests"] < 8 * INPUTS / 2
    assert "Traceback" not in complained
