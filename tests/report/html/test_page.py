"""The page as a browser would parse it: everything in one file, nothing of theirs alive."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest

from tasks.core.cells import RunCounts
from tasks.core.errors import OutputError
from tasks.report.html import (
    CHART_CALL_COLUMNS,
    CHART_COMMENT_COLUMNS,
    Report,
    TableLibrary,
    render,
    summarise_findings,
)
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


def _rendered(*inputs: Any, quota: dict[str, Any] | None = None, **facts: Any) -> str:
    calls, comments = (
        _empty(SUMMARY_CALL_COLUMNS, CHART_CALL_COLUMNS),
        _empty(SUMMARY_COMMENT_COLUMNS, CHART_COMMENT_COLUMNS),
    )
    manifest = manifest_of(RunCounts()) | facts
    summary = summarise(calls, comments)
    report = Report(manifest, summary, quota or {}, summarise_findings(inputs, 50), calls, comments)
    return render(report, _LIBRARY)


def test_an_empty_run_is_a_page() -> None:
    """Nothing found, nothing called: every part says so instead of failing."""
    text = _rendered()
    for said in (
        "Nothing was found.",
        "Nothing was judged.",
        "No call was answered.",
        "Nothing to show",
    ):
        assert said in text
    assert not _Page(text).all("table")[1:]


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
    hostile = comment(_ATTACK, **dict.fromkeys(fields, _ATTACK), check_models=(_ATTACK,))
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
    assert len(page.all("script")) == 2
    assert not page.all("img")
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert "49" not in "".join(page.inside["summary"])
    assert _ATTACK in "".join(page.inside["summary"])
    for tag in ("h1", "p", "td"):
        assert any("<script>alert(1)" in part for part in page.inside[tag])


def test_only_the_two_scripts_may_run() -> None:
    """The policy names each script by its hash, and allows no other source of anything."""
    page = _Page(_rendered(findings(comment())))
    (policy,) = [one["content"] for one in page.all("meta") if "http-equiv" in one]
    assert policy is not None
    scripts = page.inside["script"]
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
    assert text.count("<details>") == 50
    assert "The worst 50 are listed, and 30 more in comments.parquet." in text
    assert text.index('class="severity critical"') < text.index('class="severity low"')


def test_code_has_its_line_numbers_only_where_the_quote_was_found() -> None:
    """A quote that was not found in the code has no numbers to show."""
    code = "a = 1\nb = 2"
    found = _Page(_rendered(findings(comment(line=7, end_line=8, existing_code=code))))
    assert found.inside["i"][1:3] == ["7", "8"]
    lost = _Page(_rendered(findings(comment(loc_method="lines", line=7, existing_code=code))))
    assert "7" not in lost.inside["i"]


def test_code_in_messages_is_set_as_code() -> None:
    """Backticks become code, and what is inside stays text."""
    page = _Page(_rendered(findings(comment(message="Use `<u>` here, not `x`."))))
    assert page.inside["code"] == ["<u>", "x"]
    assert not page.all("u")


def test_an_unknown_form_of_the_library_is_refused() -> None:
    """A page whose table does not work is not written."""
    report = Report(
        manifest_of(RunCounts()), summarise(_empty(SUMMARY_CALL_COLUMNS), _empty(SUMMARY_COMMENT_COLUMNS)), {},
        summarise_findings(()), _empty(CHART_CALL_COLUMNS), _empty(CHART_COMMENT_COLUMNS),
    )  # fmt: skip
    for script in ("var T=1", "export{T as Other}", "/*</script>*/export{T as default}"):
        with pytest.raises(OutputError, match="itables"):
            render(report, TableLibrary(script, ""))
