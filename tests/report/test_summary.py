"""Figures of a run: what it paid, what of it is unknown, and what comes from a rehearsal."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

import pandas as pd
import pytest

from tasks.core.cells import RunCounts
from tasks.core.manifest import RunFacts
from tasks.core.records import CallRow
from tasks.core.upstream_facts import QuotaProof
from tasks.report.findings import FindingsSummary
from tasks.report.markdown import report_text
from tasks.report.summary import SUMMARY_COMMENT_COLUMNS, Summary, summarise
from tasks.report.words import cost_text, warnings_of
from tests.factories import manifest_of


def row(name: str, **fields: Any) -> CallRow:
    given = {"status": "ok", "attempts": 1, "latency_ms": 5, "started_at": 1.0} | fields
    tokens = {"input_tokens": 100, "output_tokens": 10} | given
    return CallRow("a", "check", name, 0, f"model-{name}", **tokens)


def summary(*rows: CallRow, **comments: list[Any]) -> Summary:
    empty: dict[str, list[Any]] = {name: [] for name in SUMMARY_COMMENT_COLUMNS}
    count = max(map(len, comments.values()), default=0)
    columns = {name: comments.get(name, [None] * count) for name in empty}
    return summarise(pd.DataFrame([asdict(one) for one in rows]), pd.DataFrame(columns))


def test_a_model_without_a_price_makes_the_total_a_lower_bound() -> None:
    """It is not free: the total says that it is over what is known, and why."""
    found = summary(row("one", cost_usd=1.01), row("two", cost_usd=None))
    assert cost_text(found.cost_usd, found.cost_gap) == "over $1.01 (1 of 2 models has no price)"


def test_a_run_without_new_calls_costs_nothing() -> None:
    """Journaled answers were paid for before: the cost of this run is known, and it is 0.00."""
    found = summary(row("one", cost_usd=1.01, journaled=True))
    assert cost_text(found.cost_usd, found.cost_gap) == "$0.00"


def test_a_call_that_may_have_cost_is_unknown() -> None:
    """A timeout after the request was sent may be charged; a refused connection is not."""
    lost: dict[str, Any] = {"status": "failed", "input_tokens": None, "output_tokens": None}
    found = summary(row("one", cost_usd=1.0), row("one", reason="timeout", **lost))
    assert found.cost_gap == "1 call of unknown cost"
    assert summary(row("one", cost_usd=1.0), row("one", reason="connect", **lost)).cost_gap is None


def test_last_months_money_is_not_in_the_figures() -> None:
    """Of a journaled answer neither tokens nor cost count, in the totals and per check."""
    found = summary(row("one", cost_usd=1.0), row("one", cost_usd=5.0, journaled=True))
    (figures,) = found.models
    assert (figures.cost_usd, figures.input_tokens, found.cost_usd) == (1.0, 100, 1.0)


def test_failed_calls_that_were_paid_are_in_the_total() -> None:
    """Replies that could not be read have a cost, and no latency when the last attempt failed."""
    paid = row("one", status="failed", reason="timeout", cost_usd=0.5, latency_ms=None)
    assert summary(row("one", cost_usd=1.0), paid).cost_usd == 1.5


def test_answers_of_the_journal_alone_cost_nothing() -> None:
    """No tokens and no dollars, and not unknown ones; what failed unseen stays unknown."""
    kept = row("one", journaled=True, input_tokens=9, output_tokens=9, cost_usd=1.0)
    left = row("one", status="skipped", reason="no_comments", latency_ms=None)
    (figures,) = summary(kept, left).models
    assert (figures.input_tokens, figures.output_tokens, figures.cost_usd) == (0, 0, 0.0)
    lost = row("one", status="failed", reason="timeout", input_tokens=None, output_tokens=None)
    (figures,) = summary(kept, lost).models
    assert (figures.input_tokens, figures.cost_usd) == (None, None)


def test_uncertain_comments_are_judged() -> None:
    """One confirmed of one confirmed, one rejected and two uncertain is a quarter."""
    decisions = ["confirmed", "rejected", "uncertain", "uncertain"]
    names = ["one"] * 4
    found = summary(row("one"), verdict_decision=decisions, check_model=names, agreement=[1] * 4)
    assert found.models[0].confirmed_rate == 0.25


def test_kept_is_what_the_policy_kept() -> None:
    """Not what the review confirmed: a confirmed comment may be dropped, a tool's needs no verdict."""
    outcomes, decisions = ["kept", "dropped", "kept", "kept"], ["confirmed"] * 2 + [None] * 2
    columns = {"outcome": outcomes, "verdict_decision": decisions, "agreement": [1] * 4}
    found = summary(row("one"), check_model=["one"] * 4, **columns)
    assert (found.models[0].kept, found.models[0].confirmed) == (3, 2)


def test_answers_of_a_rehearsal_are_warned_of() -> None:
    """Journaled answers from this machine's own address, while today's endpoint is elsewhere."""
    found = summary(row("one", journaled=True, endpoint="http://127.0.0.1:8080/v1"))
    facts = manifest_of(RunCounts())
    real, own = {"base_url": "https://models.example/v1"}, {"base_url": "http://localhost:8080/v1"}
    facts["settings"] = {"app_ids": {"a": real}}
    (warning,) = warnings_of(facts, found)
    assert "as by a rehearsal: 1; today's endpoints are elsewhere" in warning
    facts["settings"] = {"app_ids": {"a": own}}
    assert warnings_of(facts, found) == []


def test_severities_that_are_no_known_word_are_told() -> None:
    """Counted per check, with the words that the model used: they count as medium."""
    said = ["dire", "", "dire", None, "P*9"]
    found = summary(row("one"), severity_said=said, check_model=["one"] * 5)
    facts = manifest_of(RunCounts()) | {"prompt_version": "p", "history": None}
    (warning,) = warnings_of(facts, found)
    assert warning == (
        "one (model-one): comments whose severity is none of critical, high, medium, low, and counts "
        'as medium: 4 (2 "dire", 1 without one, 1 "P*9").'
    )
    proof: QuotaProof = {
        "kept": True, "sends": 0, "rate_limited": 0, "span_s": 0.0, "optimum_s": 0.0, "app_ids": [],
    }  # fmt: skip
    text = report_text(cast("RunFacts", facts), found, proof, FindingsSummary())
    assert 'counts as medium: 4 (2 "dire", 1 without one, 1 "P\\*9")' in text
    many = {f"word {number}": 1 for number in range(10)}
    found = summary(row("one"), severity_said=list(many), check_model=["one"] * 10)
    assert '1 "word 7", 2 others).' in warnings_of(facts, found)[0]


def test_cut_replies_are_named_with_the_remedy() -> None:
    """The report says whose replies were cut, and what to raise."""
    found = summary(row("one", reason="truncated"))
    (warning,) = warnings_of(manifest_of(RunCounts()), found)
    assert "one (model-one): replies cut at their length: 1; raise its max_tokens" in warning


def test_each_way_has_its_calls_and_cost() -> None:
    """A batch's hours are no latency, and its money stands beside that of calls online."""
    found = summary(
        row("one", latency_ms=100, started_at=5.0, cost_usd=0.2, input_tokens=10, via="online"),
        row("one", latency_ms=9_000_000, started_at=1.0, cost_usd=0.1, input_tokens=8, via="batch"),
        row("one", latency_ms=9, started_at=1.0, cost_usd=9.0, journaled=True, via="batch"),
    )
    assert found.latency_ms["p95"] == 100
    assert found.span_s == pytest.approx(0.1)
    assert {way: (one.calls, one.cost_usd) for way, one in found.ways.items()} == {
        "batch": (1, 0.1),
        "online": (1, 0.2),
    }


def test_the_cached_share_is_of_what_was_paid() -> None:
    """Cached of all tokens in, without journaled answers; unknown where no reply tells."""
    told = row("one", input_tokens=1000, cached_tokens=900)
    old = row("one", input_tokens=1000, cached_tokens=0, journaled=True)
    assert summary(told, old).models[0].cached_share == 0.9
    assert summary(row("one", input_tokens=10)).models[0].cached_share is None
    proof: Any = {"kept": True, "sends": 0, "rate_limited": 0, "span_s": 0.0, "optimum_s": 0.0}
    facts: Any = manifest_of(RunCounts()) | {"prompt_version": "p", "history": None}
    text = report_text(facts, summary(told), proof | {"app_ids": []}, FindingsSummary())
    assert "| 1,000 | 90% | 10 |" in text
