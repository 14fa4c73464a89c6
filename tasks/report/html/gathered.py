"""What the report keeps of the findings while they stream by: counts of all, rows of the worst."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tasks.core.records import SEVERITIES
from tasks.review.findings.findings import Findings, Row, category_of, severity_index, worst_first

__all__ = ["MAX_FINDINGS", "Gathered", "gather"]

MAX_FINDINGS = 2000
"""Rows in the report's table; the rest is counted."""


@dataclass(slots=True)
class Gathered:
    """Findings of a run in bounded memory."""

    total: int = 0
    suppressed: int = 0
    inputs: int = 0
    """Inputs with at least one finding."""
    severities: dict[str, Counter[str]] = field(default_factory=dict)
    """severity -> category -> findings."""
    worst: list[Row] = field(default_factory=list)
    """Worst first; each with the `input_id` it belongs to."""

    def count(self, severity: str) -> int:
        """Findings of that severity."""
        return self.severities.get(severity, Counter()).total()


def gather(inputs: Iterable[Findings], limit: int = MAX_FINDINGS) -> Gathered:
    """Count everything, keep the worst `limit`."""
    found = Gathered()
    found.worst = heapq.nsmallest(limit, _counted(inputs, found), key=worst_first)
    return found


def _counted(inputs: Iterable[Findings], found: Gathered) -> Iterator[Row]:
    for findings in inputs:
        found.inputs += bool(findings.shown)
        found.suppressed += len(findings.suppressed)
        found.total += len(findings.shown)
        for finding in findings.shown:
            severity = SEVERITIES[severity_index(finding)]
            found.severities.setdefault(severity, Counter())[category_of(finding)] += 1
            yield finding
