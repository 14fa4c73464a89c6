"""Rows of the tables that the UI shows: few columns, short cells, the worst first."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Any

from tasks.core.text_safety import markdown_cell
from tasks.review.findings.findings import Finding, Findings, place_text, title_of, worst_first

__all__ = ["FAILED_CALL_COLUMNS", "failed_call_row", "top_findings"]

FAILED_CALL_COLUMNS = (
    "input_id", "stage", "name", "model", "reason", "app_id", "attempts", "trace_id", "raw_snippet",
)  # fmt: skip

_SAID = 160
"""Characters of what the upstream said."""


def failed_call_row(call: Mapping[str, Any]) -> dict[str, Any]:
    """The row of one failed cell; `call` has FAILED_CALL_COLUMNS."""
    said = " ".join(str(call["raw_snippet"] or "").split())
    return {
        "input": markdown_cell(call["input_id"]),
        "cell": markdown_cell(call["name"]),
        "model": markdown_cell(call["model"] or ""),
        "reason": call["reason"],
        "app_id": call["app_id"] or "",
        "attempts": call["attempts"] or 0,
        "said": markdown_cell(said if len(said) <= _SAID else f"{said[: _SAID - 3]}..."),
        "trace": markdown_cell(call["trace_id"] or ""),
    }


def top_findings(inputs: Iterable[Findings], most: int) -> tuple[list[dict[str, Any]], int]:
    """Rows of the `most` worst findings, and the number of all; memory holds `most` at a time."""
    total = 0

    def counted() -> Iterable[tuple[str, Finding]]:
        nonlocal total
        for findings in inputs:
            total += len(findings.shown)
            yield from ((findings.input_id, finding) for finding in findings.shown)

    worst = heapq.nsmallest(most, counted(), key=lambda pair: worst_first(pair[1]))
    return [_finding_row(input_id, finding) for input_id, finding in worst], total


def _finding_row(input_id: str, finding: Finding) -> dict[str, Any]:
    score = finding["verdict_score"]
    return {
        "severity": finding["severity"],
        "category": finding["category"],
        "title": markdown_cell(title_of(finding)),
        "where": markdown_cell(f"{finding['path']}, {place_text(finding)}"),
        "outcome": finding["outcome"],
        "score": "" if score is None else score,
        "checks": markdown_cell(", ".join(finding["check_models"] or [finding["check_model"]])),
        "input": markdown_cell(input_id),
    }
