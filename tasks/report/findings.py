"""The findings of a run in bounded memory: counts of all, and the worst of them."""

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
    severity_index,
    worst_first,
)

__all__ = ["MAX_FINDINGS", "FindingsSummary", "summarise_findings"]

MAX_FINDINGS = 5000
"""Rows in the report's table; the rest is counted."""


@dataclass(slots=True)
class FindingsSummary:
    """Counts of a run's findings and its worst ones, in bounded memory."""

    total: int = 0
    suppressed: int = 0
    inputs: int = 0
    """Inputs with at least one finding."""
    severities: dict[str, Counter[str]] = field(default_factory=dict)
    """severity -> category -> findings."""
    new: int = 0
    """Findings that the earlier run did not show; 0 where there was none."""
    critical_or_new: int = 0
    worst: list[Finding] = field(default_factory=list)
    """Worst first; each with the `input_id` it belongs to."""

    @property
    def by_severity(self) -> dict[str, dict[str, int]]:
        """Severity -> category -> findings, the worst severity first."""
        return {one: dict(self.severities[one]) for one in SEVERITIES if one in self.severities}

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
            is_new = finding["age"] == "new"
            found.new += is_new
            found.critical_or_new += is_new or severity == SEVERITIES[0]
            yield finding
