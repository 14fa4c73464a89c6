"""What was found in each repository of a run of several, counted while the shards are merged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TypedDict

from tasks.core.records import SEVERITIES, Row
from tasks.core.sections import split_section

__all__ = ["SectionCounts", "SectionFacts", "count_section"]


class SectionFacts(TypedDict):
    """SectionCounts as the manifest has them."""

    inputs: int
    coverage: dict[str, int]
    findings: dict[str, int]
    ages: dict[str, int]


@dataclass(slots=True)
class SectionCounts:
    """One repository's inputs and findings."""

    inputs: int = 0
    coverage: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    """Kept and unverified ones by severity."""
    ages: Counter[str] = field(default_factory=Counter)
    """The same ones, new and recurring; empty: there was no earlier run."""

    def facts(self) -> SectionFacts:
        """The counts as plain dicts, the worst severity first."""
        worst = {name: self.findings[name] for name in SEVERITIES if self.findings[name]}
        return {
            "inputs": self.inputs,
            "coverage": dict(self.coverage),
            "findings": worst,
            "ages": dict(self.ages),
        }


def count_section(sections: dict[str, SectionCounts], review: Row) -> None:
    """Add one input to its section; one without a section to none."""
    section = split_section(review["input_id"]).section
    if not section:
        return
    counts = sections.setdefault(section, SectionCounts())
    counts.inputs += 1
    counts.coverage[review["coverage"]] += 1
    shown = {one["cluster_id"]: one for one in review["comments"] if one["outcome"] != "dropped"}
    for one in shown.values():
        counts.findings[one["severity"]] += 1
        if one["age"] is not None:
            counts.ages[one["age"]] += 1
