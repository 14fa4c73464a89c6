"""GitLab Code Quality: by GitLab's rules, written down here as a schema."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tasks.core.cells import RunCounts
from tasks.core.records import SEVERITIES
from tasks.finished.export import EXPORTS
from tasks.review.findings.findings import Findings
from tests.factories import comment, findings, manifest_of

_LINE = {"type": "integer", "minimum": 1}
_SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "minLength": 1, "not": {"pattern": "^\\./"}},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {"begin": _LINE, "end": _LINE},
                    },
                },
            },
        },
    },
}


def _issues(*inputs: Findings) -> list[dict[str, Any]]:
    pieces = EXPORTS["gitlab"].pieces(manifest_of(RunCounts()), inputs)
    issues: list[dict[str, Any]] = orjson.loads(b"".join(pieces))
    Draft202012Validator(_SCHEMA).validate(issues)
    return issues


def test_fields() -> None:
    """What the merge request widget shows of a finding."""
    (issue,) = _issues(findings(comment(path="./src/app.py", line=3, end_line=4)))
    assert issue["location"] == {"path": "src/app.py", "lines": {"begin": 3, "end": 4}}
    assert issue["check_name"] == "bug"
    assert issue["description"].endswith(
        "Loop runs past the end: The range has one index too many."
    )


def test_severities() -> None:
    """GitLab's scale has other words than ours."""
    rows = [
        comment(severity=one, line=3 * line, title=f"{line}", category=category)
        for line, (one, category) in enumerate(zip(SEVERITIES, "abcd", strict=True), 1)
    ]
    assert [one["severity"] for one in _issues(findings(*rows))] == [
        "critical",
        "major",
        "minor",
        "info",
    ]


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_fingerprints_are_unique(paths: list[str]) -> None:
    """GitLab drops all but the first of equal fingerprints, so there are none."""
    inputs = [
        findings(comment(str(number), path=path), input_id=str(number))
        for number, path in enumerate(paths)
    ]
    prints = {issue["fingerprint"] for issue in _issues(*inputs)}
    assert len(prints) == len(paths)


def test_a_finding_without_a_line_says_so() -> None:
    """GitLab demands a line: it gets the first one, and the description tells the truth."""
    (issue,) = _issues(findings(comment(start_line=None, end_line=None)))
    assert issue["location"]["lines"]["begin"] == 1
    assert issue["description"].endswith("(no line)")


def test_dropped_ones_are_left_out() -> None:
    """An empty report is a valid one."""
    gone = replace(comment(), outcome="dropped", drop_reason="suppressed")
    assert _issues(findings(gone)) == []
