"""What events of a run say, and of which findings one is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.ui import events
from tasks.core.cells import RunCounts
from tasks.core.paths import RunPaths
from tasks.core.records import Input
from tasks.outputs.findings import new_critical_titles
from tests.factories import comment, manifest_of, write_run


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Payloads by event, instead of a server."""
    payloads: dict[str, dict[str, Any]] = {}

    def keep(event: str, *, resource: dict[str, str], payload: dict[str, Any]) -> None:
        assert resource
        payloads[event.removeprefix("bulk-review.")] = payload

    monkeypatch.setattr(events, "emit_event", keep)
    return payloads


def test_accepted_gaps_are_no_incomplete_run(sent: dict[str, dict[str, Any]]) -> None:
    """Who is told of incomplete runs is not told of a night within its tolerance."""
    facts = {"complete": False, "accepted": True, "result": "accepted with gaps: 9 of 10 inputs"}
    events.run_ended(manifest_of(RunCounts()) | facts, RunPaths(Path("out")))  # type: ignore[arg-type]

    assert list(sent) == ["run.finished"]
    assert sent["run.finished"]["text"].startswith("accepted with gaps: 9 of 10 inputs\n")


def test_only_critical_findings_that_are_shown_and_new_are_told(
    tmp_path: Path, sent: dict[str, dict[str, Any]]
) -> None:
    """Not milder ones, not dropped ones, not those that the run before had; each finding once."""
    told = {"severity": "critical", "outcome": "kept", "cluster_id": "k1"}
    comments = [
        comment(comment_id="1", title="Query built from input", **told),
        comment(comment_id="2", title="The same of another check", check_model="mini", **told),
        comment(comment_id="3", **told | {"cluster_id": "k2", "severity": "high"}),
        comment(comment_id="4", **told | {"cluster_id": "k3", "outcome": "dropped"}),
        replace(comment(comment_id="5", **told | {"cluster_id": "k4"}), age="recurring"),
    ]
    paths, manifest = write_run(tmp_path, [(Input("a", "x", path="src/app.py"), comments, [])])
    events.new_critical(manifest, paths, new_critical_titles(paths))  # type: ignore[arg-type]

    (payload,) = sent.values()
    assert payload["count"] == 1
    assert payload["text"].startswith("1 new critical finding\nsrc/app.py: ")


def test_nothing_is_told_without_a_new_critical_finding(sent: dict[str, dict[str, Any]]) -> None:
    """An event for every night would be told every night."""
    events.new_critical(manifest_of(RunCounts()), RunPaths(Path("out")), [])  # type: ignore[arg-type]

    assert not sent


def test_each_reviewer_that_has_become_worse_is_an_event(sent: dict[str, dict[str, Any]]) -> None:
    """With model, version of the prompts and counts; none without canaries."""
    change = {
        "name": "one", "model": "gpt-x", "prompt_version": "a1b2c3d4e5f60718", "fault": "missed",
        "nights": 4, "bad": 17, "of": 28, "bad_before": 12, "of_before": 63, "score": 5.6,
    }  # fmt: skip
    facts = manifest_of(RunCounts()) | {"canaries": None}
    events.reviewer_changed(facts, RunPaths(Path("out")))  # type: ignore[arg-type]
    assert not sent
    facts["canaries"] = {"changes": [change]}
    events.reviewer_changed(facts, RunPaths(Path("out")))  # type: ignore[arg-type]

    payload = sent["reviewer.changed"]
    assert {name: payload[name] for name in change} == change
    assert payload["text"].startswith(
        "one (gpt-x, prompts a1b2c3d4e5f6) has become worse, beyond chance: in the last 4 nights it "
        "missed 17 of 28 planted defects, before that 12 of 63."
    )
