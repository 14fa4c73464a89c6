"""Each occasion of [notify], met on a real server, arrives at a webhook of ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Late

from deployments.nightly import Nightly
from flows.ui import events
from tasks.core.cells import RunCounts
from tasks.core.paths import RunPaths
from tests.factories import manifest_of
from tests.operations.conftest import Evening
from tests.operations.inbox import Inbox
from tests.operations.stack import KEYS, Operator

pytestmark = pytest.mark.chaos
"""Minutes: automations look every few seconds, and each occasion is met on its own."""


def _message(operator: Operator, inbox: Inbox, subject: str, part: str) -> str:
    found: str = operator.until(
        lambda: next((one for one in inbox.about(subject) if part in one), ""),
        f"{subject!r} with {part!r} among {inbox.messages}",
    )
    return found


def test_incomplete_has_result_counts_first_error_and_links(
    operator: Operator, evening: Evening, inbox: Inbox
) -> None:
    """All of it is in the message; the link is that of the served report."""
    run = operator.ended(evening.gaps)
    text = _message(operator, inbox, "Review incomplete: ", "/gaps/report.html")

    assert text.startswith(
        "INCOMPLETE: 4 of 6 inputs, 2 not in full: 2 content_filter. 2 x content_filter"
    )
    assert "6 inputs, 2 of 6 cells failed, " in text
    assert "http://127.0.0.1:" in text
    assert str(run.id) in text


def test_refused_has_the_remedy(operator: Operator, refused: FlowRun, inbox: Inbox) -> None:
    """A run without its review.toml ends as Failed, and the message says which file is missing."""
    run = operator.ended(refused)
    text = _message(operator, inbox, "Review refused: ", "nowhere.toml")

    assert run.state is not None
    assert (run.state.name, run.name.endswith(", refused")) == ("Failed", True)
    assert str(run.state.message).startswith("REFUSED: ")
    assert str(run.id) in text


def test_crashed_is_told(operator: Operator, evening: Evening, inbox: Inbox) -> None:
    """A run whose process, worker and machine are gone is told of when its heartbeats are missed."""
    run = operator.ended(evening.lost)
    text = _message(operator, inbox, "Review crashed: ", "No heartbeat")

    assert run.name in text
    assert str(run.id) in text


def test_late_is_told(operator: Operator, deployed: Nightly, inbox: Inbox) -> None:
    """A run that no worker takes in time."""
    adhoc = operator.client.read_deployment_by_name("bulk-review/adhoc")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    run = operator.client.create_flow_run_from_deployment(
        adhoc.id,
        name="late-one",
        parameters={"source": deployed.source},
        state=Late(scheduled_time=tomorrow),
    )
    try:
        _message(operator, inbox, "Review late: late-one", str(run.id))
    finally:
        operator.client.delete_flow_run(run.id)


@pytest.mark.usefixtures("deployed")
def test_budget_new_critical_findings_and_worse_reviewers_are_told(
    operator: Operator, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events as a run sends them, sent to the server by hand."""
    sent: list[dict[str, Any]] = []

    def keep(event: str, *, resource: dict[str, str], payload: dict[str, Any]) -> None:
        sent.append({"event": event, "resource": resource, "payload": payload})

    monkeypatch.setattr(events, "emit_event", keep)
    events.budget_reached("r1", "budget.usd", "budget.usd: $20.00 of $20.00, 100 %")
    paths = RunPaths(operator.output("critical"))
    titles = [f"src/app.py: Query {number}" for number in range(7)]
    events.new_critical(manifest_of(RunCounts()), paths, titles)  # type: ignore[arg-type]
    change = {
        "name": "one", "model": "gpt-x", "prompt_version": "a1b2c3", "fault": "missed", "nights": 4,
        "bad": 17, "of": 28, "bad_before": 12, "of_before": 63, "score": 5.6,
    }  # fmt: skip
    facts = manifest_of(RunCounts()) | {"canaries": {"changes": [change]}}
    events.reviewer_changed(facts, paths)  # type: ignore[arg-type]
    now = datetime.now(UTC).isoformat()
    body = [one | {"id": str(uuid4()), "occurred": now} for one in sent]
    operator.client.request("POST", "/events", json=body)

    assert "$20.00 of $20.00" in _message(operator, inbox, "Review out of budget: budget.usd", "r1")
    text = _message(operator, inbox, "New critical findings: ", "7 new critical findings")
    assert "src/app.py: Query 4\nand 2 more\n" in text
    assert "/critical/report.html" in text
    text = _message(operator, inbox, "Reviewer worse: one (gpt-x)", "beyond chance")
    assert "missed 17 of 28 planted defects" in text


def test_no_message_has_a_key(operator: Operator, evening: Evening, inbox: Inbox) -> None:
    """What a provider said is scrubbed on its way to a chat as well."""
    operator.ended(evening.gaps)
    _message(operator, inbox, "Review incomplete: ", "content_filter")

    assert not [key for key in KEYS.values() if key in str(inbox.messages)]


def test_what_is_no_longer_wanted_is_removed(operator: Operator, deployed: Nightly) -> None:
    """`up` without [notify] leaves no automation of it, and a block that is not there is named."""
    config = Path(deployed.config)
    text = config.read_text()
    stack = operator.stack
    command = ["deploy", deployed.source, "--config", str(config), "--folder", str(stack.folder)]
    command += ["--cron", deployed.cron, "--timezone", deployed.timezone]
    try:
        config.write_text(text.replace('"incomplete", "refused", ', ""))
        stack.command(*command)
        assert not operator.client.read_automations_by_name("nightly-review-refused")
        assert operator.client.read_automations_by_name("nightly-review-crashed")
    finally:
        config.write_text(text)
