"""rdjsonl: by reviewdog's rules, written down here as a schema."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from tasks.core.cells import RunCounts
from tasks.core.records import SEVERITIES
from tasks.finished.export import EXPORTS
from tasks.review.findings.findings import Findings
from tests.factories import comment, findings, manifest_of


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


_TEXT = {"type": "string"}
_INT32 = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
_POSITION = _object("line", line=_INT32, column=_INT32)
_RANGE = _object("start", start=_POSITION, end=_POSITION)
_DIAGNOSTIC = _object(
    "message location",
    message={"type": "string", "minLength": 1},
    location=_object("path", path={"type": "string", "minLength": 1}, range=_RANGE),
    severity={"enum": ["ERROR", "WARNING", "INFO"]},
    source=_object("name", name=_TEXT, url=_TEXT),
    code=_object("value", value=_TEXT, url=_TEXT),
    suggestions={"type": "array", "items": _object("range text", range=_RANGE, text=_TEXT)},
)


def _diagnostics(*inputs: Findings) -> list[dict[str, Any]]:
    text = b"".join(EXPORTS["rdjsonl"].pieces(manifest_of(RunCounts()), inputs))
    assert not text or text.endswith(b"\n")
    rows = [orjson.loads(line) for line in text.splitlines()]
    for row in rows:
        Draft202012Validator(_DIAGNOSTIC).validate(row)
    return rows


def test_one_valid_diagnostic_a_line() -> None:
    """Line breaks in texts do not break lines of the file."""
    rows = _diagnostics(findings(comment(message="two\nlines"), comment(line=9)), findings())
    assert len(rows) == 2
    assert rows[0]["message"] == "[unverified] Loop runs past the end\n\ntwo\nlines"
    assert rows[0]["code"] == {"value": "bug"}


def test_severities() -> None:
    """Critical and high are ERROR, medium WARNING, low INFO."""
    rows = _diagnostics(
        findings(*(comment(severity=one, line=line) for line, one in enumerate(SEVERITIES, 1)))
    )
    assert [one["severity"] for one in rows] == ["ERROR", "ERROR", "WARNING", "INFO"]


def test_ranges_are_whole_lines() -> None:
    """No columns: the range includes its last line, and so does the suggestion's."""
    (row,) = _diagnostics(findings(comment(line=3, end_line=4, suggestion="a\nb\n")))
    lines = {"start": {"line": 3}, "end": {"line": 4}}
    assert row["location"]["range"] == lines
    assert row["suggestions"] == [{"range": lines, "text": "a\nb"}]


def test_without_a_place_there_is_no_range() -> None:
    """A removed line is named in words; no line of the new file is made up for it."""
    (row,) = _diagnostics(findings(comment(side="left", line=5)))
    assert row["location"] == {"path": "src/app.py"}
    assert row["message"].endswith("(removed line 5)")
    assert "suggestions" not in row


def test_dropped_ones_are_left_out() -> None:
    """Neither rejected nor suppressed comments get to a pull request."""
    gone = [
        replace(comment(line=line), outcome="dropped", drop_reason=reason)
        for line, reason in ((1, "rejected"), (2, "suppressed"))
    ]
    assert _diagnostics(findings(*gone)) == []
