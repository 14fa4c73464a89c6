"""One finding as the words of its row in the table; long texts are cut."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.core.records import SEVERITIES
from tasks.review.findings.findings import (
    Row,
    category_of,
    lines_of,
    place_text,
    severity_index,
    title_of,
)

__all__ = ["FindingView", "finding_view"]

_MAX_TEXT = 1500
_MAX_CODE_LINES = 16


@dataclass(frozen=True, slots=True)
class FindingView:
    """One row of the table."""

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


def finding_view(finding: Row) -> FindingView:
    """Long texts are cut, and end with what was left out."""
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


def _numbered(finding: Row) -> tuple[tuple[str, str], ...]:
    # Only a quote that was found stands at these lines for sure.
    known = finding["loc_method"] in {"exact", "quote"} and lines_of(finding)
    start = known[0] if known else None
    return tuple(
        ("" if start is None else str(start + place), line)
        for place, line in enumerate(_lines(finding["existing_code"]))
    )
