"""What people read of a run in which one model is refused and one key is held by its provider."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)

from deployments.sandbox import start_sandbox
from tests.conftest import KEYS, Finished, Job, PrefectServer
from tests.runs import config, numbered

SAID = "HTTP 404: The model does not exist."
HELD = "HTTP 429: Rate limit reached. Please try again in 7200.000s."


class Shown(NamedTuple):
    """A run's ways to people."""

    ended: Finished
    output: Path
    facts: dict[str, Any]
    state: str
    """The flow run's state message."""
    artifact: str
    """Description of the failed cells."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, prefect_server: PrefectServer) -> Shown:
    """12 inputs: check-2 is no model of the endpoint, and bravo is told to come back in two hours."""
    folder = tmp_path_factory.mktemp("words")
    source = numbered(folder / "inputs.jsonl", 12)
    job = Job(folder, prefect_server.environment | KEYS)
    with start_sandbox() as sandbox:
        sandbox.control(
            strict_models=True,
            models={"check-1": {}},
            keys={"bravo": {"key": KEYS["KEY_B"]}},
            script=[{"fault": "status_429", "key": "bravo", "times": 1}],
            fault_wait=7200,
        )
        # If bravo served check-2 as well, the moment of its hold would decide which reason is told.
        served = '[app_ids.bravo]\nmodels = ["check-1"]'
        text = config(sandbox, processes=1).replace("[app_ids.bravo]", served)
        (folder / "review.toml").write_text(text)
        ended = job.run(source, "--log-json")
    facts = json.loads((job.output / "manifest.json").read_text())
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(facts["flow_run_id"])
        wanted = ArtifactFilter(
            key=ArtifactFilterKey(any_=["bulk-review-failed-cells"]),
            flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]),
        )
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
    assert run.state is not None
    assert run.state.message is not None
    return Shown(ended, job.output, facts, run.state.message, artifact.description or "")


def test_the_words_are_in_every_place(shown: Shown) -> None:
    """Terminal, report.md, report.html, manifest, artifact and the state's message have them."""
    assert shown.ended.code == 3
    (failed,) = shown.facts["upstream"]["failures"]
    assert (failed["reason"], failed["model"]) == ("refused_by_endpoint", "check-2")
    assert (failed["calls"], failed["said"]) == (12, SAID)
    places = {
        "terminal": shown.ended.out,
        "report.md": (shown.output / "report.md").read_text(),
        "report.html": (shown.output / "report.html").read_text(),
        "artifact": shown.artifact,
        "state": shown.state,
    }
    assert [name for name, text in places.items() if SAID not in text] == []
    assert "12 x refused_by_endpoint, check-2 at http" in shown.state


def test_a_closed_model_keeps_its_last_words(shown: Shown) -> None:
    """The report lists it, for a later run asks once more."""
    (closed,) = shown.facts["upstream"]["closed"]
    assert (closed["model"], closed["said"]) == ("check-2", SAID)
    assert "Models that are closed" in (shown.output / "report.md").read_text()


def test_the_hold_is_in_log_summary_and_report(shown: Shown) -> None:
    """Who, until when, and in whose words; the other key answers for the model that is left."""
    (hold,) = shown.facts["upstream"]["holds"]
    assert (hold["app_id"], hold["said"]) == ("bravo", HELD)
    logged = list(map(json.loads, shown.ended.err.splitlines()))
    assert any(HELD in line["message"] for line in logged if line["event"] == "log")
    assert re.search(rf"held +app_id bravo until 20.*{re.escape(HELD)}", shown.ended.out)
    assert HELD in (shown.output / "report.html").read_text()
    assert shown.facts["counts"]["cells"]["ok"] == 12


def test_stages_come_in_their_order(shown: Shown) -> None:
    """The first sign of life is before all that takes time."""
    logged = [json.loads(line) for line in shown.ended.err.splitlines()]
    assert [one["message"].split()[0] for one in logged if one["event"] == "stage"] == [
        *("starting", "reading", "reviewing", "merging", "making")
    ]
    assert logged[0]["message"] == "starting"


def test_the_summary_begins_with_result_and_report(shown: Shown) -> None:
    """Then findings by severity, comments, cost and time."""
    lines = shown.ended.out.splitlines()
    assert lines[0].startswith("INCOMPLETE: 0 of 12 inputs")
    assert lines[1] == f"report    {shown.output / 'report.html'}"
    assert [line.split()[0] for line in lines[2:6]] == ["findings", "comments", "cost", "time"]
