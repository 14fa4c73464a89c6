"""The findings of a run as the page shows them: counts of all, and a row for each of the worst."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tasks.core.records import SEVERITIES
from tasks.review.findings.findings import (
    Finding,
    Findings,
    category_of,
    line_range,
    place_text,
    severity_index,
    title_of,
    worst_first,
)

__all__ = ["MAX_FINDINGS", "FindingView", "FindingsSummary", "finding_view", "summarise_findings"]

MAX_FINDINGS = 2000
"""Rows in the report's table; the rest is counted."""
_MAX_TEXT = 1500
_MAX_CODE_LINES = 16


@dataclass(slots=True)
class FindingsSummary:
    """Counts of a run's findings and its worst ones, in bounded memory."""

    total: int = 0
    suppressed: int = 0
    inputs: int = 0
    """Inputs with at least one finding."""
    severities: dict[str, Counter[str]] = field(default_factory=dict)
    """severity -> category -> findings."""
    worst: list[Finding] = field(default_factory=list)
    """Worst first; each with the `input_id` it belongs to."""

    def count(self, severity: str) -> int:
        """Number of findings of one severity."""
        return self.severities.get(severity, Counter()).total()


def summarise_findings(inputs: Iterable[Findings], limit: int = MAX_FINDINGS) -> FindingsSummary:
    """Counts of all findings, and the worst `limit` of them."""
    found = FindingsSummary()
    found.worst = heapq.nsmallest(limit, _counted(inputs, found), key=worst_first)
    return found


def _counted(inputs: Iterable[Findings], found: FindingsSummary) -> Iterator[Finding]:
    for findings in inputs:
        found.inputs += bool(findings.shown)
        found.suppressed += len(findings.suppressed)
        found.total += len(findings.shown)
        for finding in findings.shown:
            severity = SEVERITIES[severity_index(finding)]
            found.severities.setdefault(severity, Counter())[category_of(finding)] += 1
            yield finding


@dataclass(frozen=True, slots=True)
class FindingView:
    """One finding in the words of its row in the table."""

    severity: str
    order: int
    """0 is the worst."""
    category: str
    title: str
    path: str
    place: str
    score: str
    checks: str
    agreement: int
    state: str
    message: str
    rationale: str
    reason: str
    """Of the review's verdict."""
    code: tuple[tuple[str, str], ...]
    """(line number or nothing, text)."""
    suggestion: tuple[str, ...]
    input_id: str


def finding_view(finding: Finding) -> FindingView:
    """The row of one finding; long texts are cut, and end with how much was left out."""
    score = finding["verdict_score"]
    order = severity_index(finding)
    return FindingView(
        severity=SEVERITIES[order],
        order=order,
        category=category_of(finding),
        title=title_of(finding).removeprefix("[unverified] "),
        path=finding["path"],
        place=place_text(finding),
        score="" if score is None else str(score),
        checks=", ".join(finding["check_models"] or [finding["check_model"]]),
        agreement=finding["agreement"] or 1,
        state=finding["outcome"],
        message=_cut(finding["message"]),
        rationale=_cut(finding["rationale"]),
        reason=_cut(finding["verdict_reason"]),
        code=_numbered(finding),
        suggestion=_lines(finding["suggestion"]),
        input_id=finding["input_id"],
    )


def _cut(text: str | None) -> str:
    text = (text or "").strip()
    left = len(text) - _MAX_TEXT
    return text if left <= 0 else f"{text[:_MAX_TEXT]} (and {left:,} more characters)"


def _lines(code: str | None) -> tuple[str, ...]:
    if not code or not code.strip():
        return ()
    lines = [_cut_line(line) for line in code.rstrip().splitlines()]
    left = len(lines) - _MAX_CODE_LINES
    return tuple(lines if left <= 0 else [*lines[:_MAX_CODE_LINES], f"(and {left:,} more lines)"])


def _cut_line(line: str) -> str:
    return line if len(line) <= _MAX_TEXT else f"{line[:_MAX_TEXT]} (and more)"


def _numbered(finding: Finding) -> tuple[tuple[str, str], ...]:
    # Only a quote that was found stands at these lines for sure.
    known = finding["loc_method"] in {"exact", "quote"} and line_range(finding)
    start = known[0] if known else None
    return tuple(
        ("" if start is None else str(start + place), line)
        for place, line in enumerate(_lines(finding["existing_code"]))
    )
