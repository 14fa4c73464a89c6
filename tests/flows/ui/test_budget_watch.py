"""The news of a budget: one warning at 80 %, one when it is spent, with its event."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.ui import events
from flows.ui.budget_watch import BudgetWatch
from flows.ui.status import Status
from tasks.core.quotas import AppId
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.infer.progress import Tally
from tasks.upstream.quota import Quota
from tasks.upstream.quota.spending import Amount, book, note_reached
from tasks.upstream.quota.transaction import Transaction

CONFIG = """
mode = "check"
[app_ids.a]
key = "env:KEY_A"
base_url = "http://127.0.0.1:1/v1/"
quota = []
[[check]]
name = "one"
model = "m"
[budget]
calls = 10
tokens = 1000
"""


def test_each_news_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below 80 % nothing; then a line; then a line and the event, and the progress line has it."""
    sent: list[tuple[str, Any]] = []
    monkeypatch.setattr(events, "emit_event", lambda name, **what: sent.append((name, what)))
    run = Run("r", load_settings(CONFIG), str(tmp_path), 1)
    watch = BudgetWatch(run, logging.getLogger("test"))
    assert watch.look() == ""
    with Quota(run.ledger, [AppId("a")], run_id="r") as quota:
        for calls, said in ((7, 0), (1, 1), (0, 1)):
            quota.in_ledger(_booked(calls))
            line = watch.look()
            assert len(caplog.records) == said
        assert line == "budget.calls: 8 calls of 10 calls"
        quota.in_ledger(_booked(2))
        quota.in_ledger(lambda t: note_reached(t.db, "run r", "budget.calls"))
        assert [watch.look(), watch.look()] == ["budget.calls: 10 calls of 10 calls"] * 2
    assert [record.getMessage()[:24] for record in caplog.records] == [
        "80 % of the budget is sp",
        "the budget is spent, bud",
    ]
    assert [(name, what["payload"]["cap"]) for name, what in sent] == [
        ("bulk-review.budget.reached", "budget.calls")
    ]
    assert line in Status(9, 1, Tally(), 1.0, budget=line).line()


def _booked(calls: int) -> Callable[[Transaction], None]:
    return lambda t: book(t.db, ("run r",), Amount(calls=calls), Amount())
