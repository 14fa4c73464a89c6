"""The page as a browser would parse it: everything in one file, nothing of theirs alive."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pandas as pd
import pytest

from tasks.core.cells import RunCounts
from tasks.core.errors import OutputError
from tasks.report.findings import summarise_findings
from tasks.report.html import (
    CHART_CALL_COLUMNS,
    CHART_COMMENT_COLUMNS,
    Report,
    TableLibrary,
    render,
)
from tasks.report.html.context import CodeLine, Context
from tasks.report.html.rows import rows_json
from tasks.report.summary import SUMMARY_CALL_COLUMNS, SUMMARY_COMMENT_COLUMNS, summarise
from tests.factories import comment, findings, manifest_of

_LIBRARY = TableLibrary("class T{}\nexport{T as default,T as Other};\n/*end*/", "p{margin:0}")
_ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'`<b>{{7*7}}"


class _Page(HTMLParser):
    """Tags, attributes and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "wbr":  # has no end
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inside.setdefault(self._open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every such element."""
        return [attrs for name, attrs in self.tags if name == tag]


def _empty(*names: Iterable[str]) -> pd.DataFrame:
    return pd.DataFrame(columns=list(dict.fromkeys(name for some in names for name in some)))


def _rendered(
    *inputs: Any,
    quota: dict[str, Any] | None = None,
    contexts: dict[str, Context] | None = None,
    **facts: Any,
) -> str:
    calls, comments = (
        _empty(SUMMARY_CALL_COLUMNS, CHART_CALL_COLUMNS),
        _empty(SUMMARY_COMMENT_COLUMNS, CHART_COMMENT_COLUMNS),
    )
    manifest = manifest_of(RunCounts()) | facts
    summary = summarise(calls, comments)
    found = summarise_findings(inputs, 50)
    report = Report(manifest, summary, quota or {}, found, contexts or {}, calls, comments)
    return render(report, _LIBRARY)


def _rows(text: str) -> list[dict[str, Any]]:
    """The findings that the page's script reads."""
    (data,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL
    )
    rows: list[dict[str, Any]] = json.loads(data)
    return rows


def test_an_empty_run_is_a_page() -> None:
    """Nothing found, nothing called: it says so, and has neither a table nor a chart without content."""
    text = _rendered()
    assert "No finding was kept." in text
    page = _Page(text)
    assert not page.all("table")[1:]
    assert not page.all("figure")
    assert _rows(text) == []


@pytest.mark.parametrize(
    ("complete", "accepted", "shown"),
    [(True, True, "good"), (False, False, "bad"), (False, True, "fair"), (True, False, "bad")],
)
def test_the_verdict_has_its_colour(complete: bool, accepted: bool, shown: str) -> None:
    """INCOMPLETE is red, complete is green, gaps that were accepted are amber."""
    text = _rendered(complete=complete, accepted=accepted, result="INCOMPLETE: 1 of 2 inputs")
    (verdict,) = [one for one in _Page(text).all("p") if one.get("id") == "verdict"]
    assert verdict["class"] == shown


def test_news_are_shown_where_there_is_an_earlier_run() -> None:
    """How many findings are new and how many are gone; nothing on the first run."""
    since = {"new": 12, "recurring": 3, "dropped": 0, "gone": 4, "unknown": 1}
    text = _rendered(history=since)
    assert "new findings" in text
    assert "3 recurring, 4 gone, 1 unknown" in text
    assert "new findings" not in _rendered(history=None)


def test_hostile_texts_are_only_text() -> None:
    """Every field that models, authors or settings fill shows its markup as characters."""
    fields = ("title", "message", "rationale", "existing_code", "suggestion", "path", "check_model")
    hostile = comment(
        _ATTACK, **dict.fromkeys(fields, _ATTACK), check_models=(_ATTACK,), severity="critical"
    )
    quota = {
        "kept": True, "sends": 1, "rate_limited": 0, "span_s": 0.0, "optimum_s": 0.0,
        "app_ids": [{"app_id": _ATTACK}],
    }  # fmt: skip
    text = _rendered(
        findings(hostile, input_id=_ATTACK),
        quota=quota,
        result=_ATTACK,
        source=_ATTACK,
        run_id=_ATTACK,
        rejected={"rows": 1, "reasons": {_ATTACK: 1}},
        packages={_ATTACK: "1"},
    )
    page = _Page(text)
    assert [one.get("type") for one in page.all("script")] == ["application/json", *["module"] * 2]
    assert not page.all("img")
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert "49" not in "".join(page.inside["a"])
    assert _ATTACK in "".join(page.inside["a"])
    (row,) = _rows(text)
    assert {row[name] for name in ("title", "message", "rationale", "path", "input")} == {_ATTACK}
    for tag in ("h1", "p", "td"):
        assert any("<script>alert(1)" in part for part in page.inside[tag])


def test_what_cannot_be_seen_is_spelled_out() -> None:
    """Escapes of a terminal and marks of direction are characters like others, also within code."""
    unseen = "\x1b[31m\u202e `\x07`"
    fields = ("title", "message", "rationale", "existing_code", "suggestion", "path", "check_model")
    hostile = comment(unseen, **dict.fromkeys(fields, unseen), check_models=(unseen,))
    text = _rendered(findings(hostile, input_id=unseen), result=unseen, source=unseen)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e]", text)
    assert "\\x1b[31m\\u202e" in text
    (row,) = _rows(text)
    shown = [row[name] for name in ("title", "message", "rationale", "path")]
    assert all(one.startswith("\\x1b[31m\\u202e") for one in [*shown, *row["suggestion"]]), row


def test_only_the_two_scripts_may_run() -> None:
    """The policy names each script by its hash, and allows no other source of anything."""
    page = _Page(_rendered(findings(comment())))
    (policy,) = [one["content"] for one in page.all("meta") if "http-equiv" in one]
    assert policy is not None
    data, *scripts = page.inside["script"]
    assert json.loads(data)
    assert len(scripts) == 2
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    assert re.findall(r"'sha256-([^']+)'", policy) == [
        base64.b64encode(digest).decode() for digest in digests
    ]
    assert policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy


def test_nothing_is_loaded_from_elsewhere() -> None:
    """No element points outside of the file."""
    page = _Page(_rendered(findings(comment())))
    links = [
        value
        for tag, attrs in page.tags
        for name, value in attrs.items()
        if name in {"src", "href", "data", "action", "srcset"} and tag != "svg"
    ]
    assert [link for link in links if not (link or "").startswith(("#", "data:"))] == []


def test_what_is_not_listed_is_counted() -> None:
    """The table is bounded; its note tells how many more there are, and the worst are in it."""
    rows = [
        findings(comment(f"{n}", severity="critical" if n == 70 else "low"), input_id=f"{n}")
        for n in range(1, 81)
    ]
    text = _rendered(*rows)
    assert len(_rows(text)) == 50
    assert "The worst 50 are listed, and 30 more in comments.parquet." in text
    assert [one["severity"] for one in _rows(text)][:2] == ["critical", "low"]


def test_code_has_its_line_numbers_only_where_the_quote_was_found() -> None:
    """A quote that was not found in the code has no numbers to show."""
    code = "a = 1\nb = 2"
    (found,) = _rows(_rendered(findings(comment(line=7, end_line=8, existing_code=code))))
    assert found["quote"] == [[7, "", "a = 1", 1], [8, "", "b = 2", 1]]
    lost = comment(loc_method="lines", line=7, existing_code=code)
    (row,) = _rows(_rendered(findings(lost)))
    assert row["quote"] == [[0, "", "a = 1", 1], [0, "", "b = 2", 1]]


def test_a_quote_is_not_said_twice() -> None:
    """Where the lines are seen among those around them, the quote itself is left out."""
    context = Context((CodeLine(7, "", "a = 1", found=True),), "https://git.example.test/a#L7")
    one = comment(line=7, existing_code="a = 1")
    (row,) = _rows(_rendered(findings(one), contexts={one.comment_id: context}))
    assert row["code"] == [[7, "", "a = 1", 1]]
    assert row["link"] == "https://git.example.test/a#L7"
    assert "quote" not in row


def test_code_in_titles_is_set_as_code() -> None:
    """Backticks become code, and what is inside stays text."""
    page = _Page(
        _rendered(findings(comment(title="Use `<u>` here, not `x`.", severity="critical")))
    )
    assert page.inside["code"][:2] == ["<u>", "x"]
    assert not page.all("u")


def test_the_data_stay_within_their_bound() -> None:
    """Behind the bound findings keep their place and title, and lose their texts and code."""
    rows = [comment(f"{n}", message="x" * 900, severity="low") for n in range(1, 4)]
    shown = [one for found in rows for one in findings(found).shown]
    short = json.loads(rows_json(shown, {}, most=2500))
    assert short[0]["message"] == "x" * 900
    assert "message" not in short[-1]
    assert short[-1]["title"] == "Loop runs past the end"
    assert short[-1]["fingerprint"]


def test_new_and_critical_findings_come_first() -> None:
    """They stand above the table, linked to their rows, with a chip for each severity and age."""
    since = {"new": 1, "recurring": 2, "dropped": 0, "gone": 4, "unknown": 0}
    text = _rendered(
        findings(comment("a", severity="critical", title="Old and bad", age="recurring")),
        findings(comment("b", severity="low", title="New and small", age="new")),
        findings(comment("c", severity="high", title="Old and middling", age="recurring")),
        history=since,
    )
    first, rest = text.split('<section id="all">')
    assert first.index("Old and bad") < first.index("New and small")
    assert "Old and middling" not in first
    for chip in ("1 critical", "1 high", "1 low", "1 new", "2 recurring", "4 gone"):
        assert f">{chip}</span>" in first
    assert f'href="#{_rows(text)[0]["fingerprint"]}"' in first
    assert "What failed" not in first.split("<main>")[1]
    assert rest.index('id="failed"') < rest.index('id="totals"')


def test_no_cells_on_the_page() -> None:
    """What a run did is told as checks and reviews, not in the words of its insides."""
    counts = manifest_of(RunCounts())["counts"]
    text = _rendered(
        counts=counts
        | {
            "cells": {"planned": 9, "ok": 5, "failed": 1, "skipped": 3},
            "failed_by_reason": {"timeout": 1},
            "skipped_by_reason": {"no_comments": 2, "budget": 1},
        }
    )
    visible = text.split("<main>")[1].split("<script")[0]
    assert "cell" not in visible
    assert "5 done, 1 failed, 1 left out, 2 not needed" in visible


def test_what_is_no_fault_is_not_among_what_failed() -> None:
    """Reviews without comments and files that were not to be reviewed make no run look broken."""
    counts = manifest_of(RunCounts())["counts"] | {
        "skipped_by_reason": {"no_comments": 7, "nothing_to_review": 2}
    }
    harmless = {"rows": 5, "reasons": {"deleted": 2, "excluded": 3}}
    assert 'id="failed"' not in _rendered(counts=counts, rejected=harmless)
    harmless["reasons"]["empty_content"] = 1
    assert "1 empty_content</p>" in _rendered(counts=counts, rejected=harmless)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_text_can_be_read(mode: str) -> None:
    """Each colour of text has a contrast of 4.5:1 to each ground that it stands on."""
    light, dark = _STYLE.split("@media (prefers-color-scheme: dark)")
    colours = dict(_VARIABLE.findall(light))
    if mode == "dark":
        colours |= dict(_VARIABLE.findall(dark.split("* {")[0]))
    grounds = ("page", "panel", "raised", "found-back", "added-back")
    pairs = [(text, ground) for text in ("ink", "quiet") for ground in grounds]
    pairs += [("link", "page"), ("link", "panel"), ("bad", "panel"), ("page", "ink")]
    pairs += [("added", ground) for ground in ("raised", "added-back", "found-back")]
    pairs += [("removed", ground) for ground in ("raised", "found-back")]
    pairs += [(name, f"{name}-back") for name in _CHIPS]
    low = {
        pair: ratio for pair in pairs if (ratio := _contrast(*(colours[one] for one in pair))) < 4.5
    }
    assert low == {}


def test_no_colour_stands_outside_of_the_variables() -> None:
    """A rule with a colour of its own would not follow the dark mode, nor the test of contrast."""
    rules = _STYLE.split("* { box-sizing")[1].split("@media print")[0]
    rules = re.sub(r'\[(?:fill|stroke)="#[0-9a-f]{6}"\]', "", rules)
    assert re.findall(r"#[0-9a-f]{3,6}\b(?=[; ])", rules) == []


_STYLE = files("tasks.report.html").joinpath("style.css").read_text("utf-8")
_VARIABLE = re.compile(r"--([\w-]+): (#[0-9a-f]{6});")
_CHIPS = ("good", "bad", "critical", "high", "medium", "low", "age", "added", "removed")


def _contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.1 between two colours, 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_an_unknown_form_of_the_library_is_refused() -> None:
    """A page whose table does not work is not written."""
    report = Report(
        manifest_of(RunCounts()), summarise(_empty(SUMMARY_CALL_COLUMNS), _empty(SUMMARY_COMMENT_COLUMNS)), {},
        summarise_findings(()), {}, _empty(CHART_CALL_COLUMNS), _empty(CHART_COMMENT_COLUMNS),
    )  # fmt: skip
    for script in ("var T=1", "export{T as Other}", "/*</script>*/export{T as default}"):
        with pytest.raises(OutputError, match="itables"):
            render(report, TableLibrary(script, ""))
