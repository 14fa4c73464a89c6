"""What providers said, in the report: escaped, and only where there is something to say."""

from __future__ import annotations

from typing import Any

import pandas as pd

from flows.setup.manifest import with_last_words
from flows.ui.run_display import state_message
from tasks.core.cells import Cell, RunCounts
from tasks.core.failures import local_time
from tasks.report.findings import FindingsSummary
from tasks.report.markdown import report_text
from tasks.report.summary import SUMMARY_CALL_COLUMNS, SUMMARY_COMMENT_COLUMNS, summarise
from tasks.report.upstream import upstream_tables
from tests.factories import manifest_of

UNTIL = "2026-11-28T19:40:00+00:00"
EVIL = "[free](http://evil) | <b>\n# now"


def _facts(**upstream: Any) -> dict[str, Any]:
    counts = RunCounts()
    counts.add([Cell("check", "a", "failed", "quota_held")], "failed", [])
    empty: dict[str, Any] = {"failures": [], "holds": [], "closed": [], "adapted": {}}
    facts = manifest_of(counts) | {"prompt_version": "0"}
    return facts | {"upstream": empty | {"goes_on_at": None} | upstream}


def _failed(**fields: Any) -> dict[str, Any]:
    given = {"reason": "quota_held", "endpoint": None, "model": "m", "calls": 3, "is_reply": False}
    return given | {"said": "Limit of 50 per day"} | fields


def _text(facts: dict[str, Any]) -> str:
    columns = SUMMARY_CALL_COLUMNS, SUMMARY_COMMENT_COLUMNS
    summary = summarise(*(pd.DataFrame(columns=list(names)) for names in columns))
    quota: Any = {"kept": True, "sends": 0, "rate_limited": 0, "span_s": 0.0, "optimum_s": 0.0}
    return report_text(facts, summary, quota | {"app_ids": []}, FindingsSummary())  # type: ignore[arg-type]


def test_words_of_others_are_no_markup() -> None:
    """A link, a tag, a table's edge and a heading stay letters."""
    hold = {"app_id": "a", "seen": UNTIL, "until": UNTIL, "said": EVIL}
    text = _text(_facts(failures=[_failed(said=EVIL)], holds=[hold], adapted={"m at e": EVIL}))
    assert text.count(r"\[free\](http://evil) \| \<b\> \# now") == 3
    assert local_time(UNTIL) in text


def test_nothing_met_nothing_said() -> None:
    """No empty table; a run from before the record was kept has a report as well."""
    assert upstream_tables(_facts()) == []  # type: ignore[arg-type]
    earlier = _facts()
    del earlier["upstream"]
    assert "Failed calls" in _text(_facts(failures=[_failed()]))
    assert "Failed calls" not in _text(earlier)


def test_the_end_says_when_it_can_go_on() -> None:
    """INCOMPLETE with the provider's words and the first instant at which a rerun is of use."""
    facts: Any = _facts(failures=[_failed()], goes_on_at=UNTIL)
    said = state_message(facts | {"complete": False})
    assert '3 x quota_held, m: "Limit of 50 per day"' in said
    assert said.endswith(f". run again from {local_time(UNTIL)}")
    hold = {"app_id": "a", "seen": UNTIL, "until": UNTIL, "said": ""}
    assert f"can go on at {local_time(UNTIL)}" in _text(_facts(holds=[hold], goes_on_at=UNTIL))


def test_calls_that_were_not_sent_say_what_closed_their_model() -> None:
    """Not our own sentence about it, and not of another model."""
    refused: Any = _failed(reason="refused_by_endpoint", endpoint="http://e", said="closed by us")
    closed = {("http://e", "m"): "no such model"}
    assert with_last_words(refused, closed)["said"] == "no such model"
    assert with_last_words(refused, {("http://e", "other"): "x"})["said"] == "closed by us"
    assert with_last_words({**refused, "reason": "timeout"}, closed)["said"] == "closed by us"


def test_each_table_has_an_anchor_of_its_own() -> None:
    """Each table has an id of its own, which the page uses as an anchor."""
    hold = {"app_id": "a", "seen": UNTIL, "until": None, "said": "fewer"}
    closed = {"model": "m", "endpoint": "e", "said": "no"}
    facts: Any = _facts(failures=[_failed()], holds=[hold], closed=[closed], adapted={"m": "x"})
    tables = upstream_tables(facts)
    assert [one.id for one in tables] == ["failures", "closed", "holds", "adapted"]
    assert "lower limit" in tables[2].rows[0]


def test_rules_are_listed_with_their_inputs() -> None:
    """Which rule applied to how many inputs, what did not fit, and what these commits change."""
    rule = {"rule": "src/REVIEW.md", "inputs": 1200, "cut": 3, "left_out": 0, "changed": True}
    text = _text(_facts() | {"rules": [rule]})
    assert "## Team rules" in text
    assert "| src/REVIEW.md | 1,200 | 3 |  | changed here, holds from the next run on |" in text
    assert "Team rules" not in _text(_facts() | {"rules": []})


def test_each_repository_has_a_row() -> None:
    """Its commits, inputs and findings, and what of them is new; a single source has no table."""
    commits = {"base": "a" * 40, "head": "b" * 40, "commits": 2, "files": 3, "note": None}
    one = {"repo": "shop", "source": "git:shop@since=last", "source_key": "k", "commits": commits}
    found = {"findings": {"high": 2, "low": 1}, "ages": {"new": 3}}
    facts = _facts() | {"repositories": [one | found | {"inputs": 3, "coverage": {"complete": 3}}]}
    row = "| shop | aaaaaaa..bbbbbbb | 3 | 3 complete | 2 high, 1 low | 3 new |"
    assert "## Repositories\n\nOne run" in (text := _text(facts))
    assert row in text
    assert "Repositories" not in _text(_facts() | {"repositories": []})
