"""A run that asks everything anew does so once, however often it has to be started."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Failed, Pending, Running, Scheduled

from deployments.sandbox import Sandbox
from flows.setup.config import new_run
from flows.setup.fresh_start import first_start, forget_start, goes_on, since_first_start
from tasks.core.paths import RunPaths
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tests.conftest import Job, PrefectServer
from tests.factories import STRICT
from tests.runs import config, numbered


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    """The folder that runs write to."""
    return RunPaths(tmp_path)


def asked(*, fresh: bool = True) -> Run:
    return new_run("r", load_settings(STRICT, "review.toml"), fresh=fresh)


def test_a_folder_knows_its_first_fresh_start(paths: RunPaths) -> None:
    """Until a run is complete; another source, or a file of a clock that was ahead, is none of it."""
    first = since_first_start(asked(), "a.jsonl", paths)
    again = asked()
    goes = since_first_start(again, "a.jsonl", paths)
    assert goes.fresh_since == first.fresh_since
    assert "answers from then on are not asked again" in str(goes_on(goes, again.fresh_since))

    other = since_first_start(asked(), "b.jsonl", paths)
    assert other.fresh_since is not None
    assert first.fresh_since is not None
    assert other.fresh_since > first.fresh_since
    assert goes_on(other, other.fresh_since) is None
    forget_start(paths)
    assert since_first_start(asked(), "b.jsonl", paths).fresh_since != other.fresh_since

    paths.fresh_file.write_text(json.dumps({"source": "b.jsonl", "since": time.time() + 3600}))
    late = since_first_start(asked(), "b.jsonl", paths).fresh_since
    assert late is not None
    assert late <= time.time()


def test_a_run_that_is_not_fresh_uses_the_whole_journal(paths: RunPaths) -> None:
    """Also into a folder where a fresh one broke off."""
    since_first_start(asked(), "a.jsonl", paths)
    assert since_first_start(asked(fresh=False), "a.jsonl", paths).fresh_since is None


@pytest.mark.usefixtures("prefect_server")
def test_a_flow_run_knows_its_first_start_through_retries() -> None:
    """Prefect's server keeps it when a run that failed is scheduled and run again."""

    @flow
    def once() -> None:
        pass

    with get_client(sync_client=True) as client:
        made = client.create_flow_run(once)
        assert first_start(client.read_flow_run(made.id), 7.0) == 7.0
        for state in (Pending(), Running(), Failed()):
            client.set_flow_run_state(made.id, state, force=True)
        first = client.read_flow_run(made.id).start_time
        assert first is not None
        for state in (Scheduled(), Pending(), Running()):
            client.set_flow_run_state(made.id, state, force=True)
        found = client.read_flow_run(made.id)
        client.set_flow_run_state(made.id, Failed(), force=True)
    assert found.run_count == 2
    assert first_start(found, time.time() + 60) == first.timestamp()


@pytest.mark.chaos
def test_fresh_run_that_breaks_off_is_not_paid_again(
    sandbox: Sandbox, make_job: Callable[..., Job], tmp_path: Path, prefect_server: PrefectServer
) -> None:
    """12 cells of an earlier run; --fresh ends after 5 of them, goes on with the other 7, then starts anew."""
    source, text = numbered(tmp_path / "inputs.jsonl", 6), config(sandbox)
    job = make_job(text).using(prefect_server.environment)
    assert job.run(source).code == 0
    assert sandbox.stats()["requests"] == 12
    (job.folder / "review.toml").write_text(text + "[budget]\ncalls = 5\n")
    broke_off = job.run(source, "--fresh")
    assert broke_off.code == 3, broke_off.err
    assert sandbox.stats()["requests"] == 12 + 5
    (job.folder / "review.toml").write_text(text)
    ended = job.run(source, "--fresh")
    assert ended.code == 0, ended.err
    assert sandbox.stats()["requests"] == 12 + 12
    assert not RunPaths(job.output).fresh_file.exists()
    assert job.run(source, "--fresh").code == 0
    assert sandbox.stats()["requests"] == 12 + 12 + 12
