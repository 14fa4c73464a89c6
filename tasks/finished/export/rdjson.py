"""
Findings as rdjsonl, Reviewdog Diagnostic Format: one Diagnostic a line.

A range without columns covers whole lines, the last one included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from tasks.core.manifest import RunFacts
from tasks.finished.export.fixes import fix_of
from tasks.finished.export.paths import report_path
from tasks.review.findings.findings import (
    Finding,
    Findings,
    category_of,
    line_range,
    place_text,
    title_of,
)

__all__ = ["rdjsonl"]

_SEVERITIES = {"critical": "ERROR", "high": "ERROR", "medium": "WARNING", "low": "INFO"}


def rdjsonl(_facts: RunFacts, inputs: Iterable[Findings]) -> Iterator[bytes]:
    """The lines; suppressed findings are left out."""
    for findings in inputs:
        for finding in findings.shown:
            yield orjson.dumps(_diagnostic(finding), option=orjson.OPT_APPEND_NEWLINE)


def _diagnostic(finding: Finding) -> dict[str, Any]:
    location: dict[str, Any] = {"path": report_path(finding["path"])}
    lines = line_range(finding)
    if lines is not None:
        location["range"] = _range(*lines)
    diagnostic: dict[str, Any] = {
        "message": _message(finding),
        "location": location,
        "severity": _SEVERITIES.get(finding["severity"], "WARNING"),
        "source": {"name": "nightly-review"},
        "code": {"value": category_of(finding)},
    }
    fix = fix_of(finding)
    if fix is not None:
        start, end, text = fix
        diagnostic["suggestions"] = [{"range": _range(start, end), "text": text}]
    return diagnostic


def _range(start: int, end: int) -> dict[str, dict[str, int]]:
    return {"start": {"line": start}, "end": {"line": end}}


def _message(finding: Finding) -> str:
    parts = [title_of(finding), finding["message"]]
    if line_range(finding) is None:
        parts.append(f"({place_text(finding)})")
    return "\n\n".join(part for part in parts if part)
