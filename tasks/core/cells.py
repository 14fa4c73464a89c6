"""
Cells: what was planned, and what became of each.

A cell is one check on one input, or the review of an input's comments. Every cell of a run ends
ok, failed or skipped; `cells_of` is the one place that decides it, and it never leaves one out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tasks.core.manifest import ManifestCounts
from tasks.core.records import CallRow, Coverage

__all__ = ["REMEDIES", "Cell", "Plan", "RunCounts", "cells_of", "coverage_of", "planned_cells"]

Plan = Sequence[tuple[str, str]]
"""(stage, name) of every cell that each input of a run has."""

REMEDIES = {
    "truncated": "raise max_tokens",
    "prompt_cut": "the server read only a part of the prompt: raise its context length",
    "tool_failed": "raw_snippet in calls.parquet has the tool's words",
    "tool_not_found": "install it where the shards run",
    "tool_timeout": "raise the timeout of the check",
    "unreadable_sarif": "write the file anew before the run",
    "batch_late": "run again: the next run takes it",
    "over_budget": "raise the budget in review.toml, or wait for the next day's, and run again",
}
"""What to do about a reason that a rerun alone does not mend."""

_WORST_FIRST = ("failed", "ok", "skipped")


class Cell(NamedTuple):
    """A planned cell and how it ended."""

    stage: str
    name: str
    status: str
    reason: str | None
    """Why it failed or was skipped; of an ok one, "truncated" when its reply was cut short, "prompt_cut" when its prompt was."""


def planned_cells(checks: Sequence[str], *, reviews: bool) -> Plan:
    """The cells of one input: its checks in their order, then its review."""
    review = (("review", "review"),) if reviews else ()
    return (*(("check", name) for name in checks), *review)


def cells_of(
    planned: Iterable[tuple[str, str]], calls: Iterable[CallRow | Cell], missing: str
) -> tuple[Cell, ...]:
    """The end of each planned cell, from the rows of its calls.

    A cell of several calls has failed if one of them has, and is cut if one is. A cell without a call failed with
    reason `missing`.
    """
    found: dict[tuple[str, str], list[CallRow | Cell]] = {}
    for call in calls:
        found.setdefault((call.stage, call.name), []).append(call)
    return tuple(_end(stage, name, found.get((stage, name)), missing) for stage, name in planned)


def _end(stage: str, name: str, calls: list[CallRow | Cell] | None, missing: str) -> Cell:
    if not calls:
        return Cell(stage, name, "failed", missing)
    worst = min(calls, key=lambda call: (_WORST_FIRST.index(call.status), call.reason is None))
    return Cell(stage, name, worst.status, worst.reason)


def coverage_of(cells: Iterable[Cell], left_out: str | None) -> tuple[Coverage, str | None]:
    """Coverage of one input and its reason.

    complete: every check answered in full. in_part: so did they, but `left_out` says what no call
    shows by design, as it would be again. partial: some checks did, or a reply was cut. failed: no check did. skipped: the input holds nothing to review, or the run was stopped.
    """
    checks = [cell for cell in cells if cell.stage == "check"]
    reviews = [cell for cell in cells if cell.stage == "review"]
    all_cells = [*checks, *reviews]
    bad = next((cell for cell in all_cells if cell.status == "failed"), None)
    bad = bad or next((cell for cell in all_cells if cell.status == "ok" and cell.reason), None)
    asked = [cell for cell in checks if cell.status != "skipped"]
    if not asked:
        return "skipped", checks[0].reason
    if all(cell.status == "failed" for cell in asked):
        return "failed", asked[0].reason
    if bad is not None:
        notes = [f"{bad.name}: {_with_remedy(bad.reason)}", left_out]
        return "partial", "; ".join(note for note in notes if note)
    return ("in_part", left_out) if left_out else ("complete", None)


def _with_remedy(reason: str | None) -> str:
    remedy = REMEDIES.get(reason or "")
    return f"{reason} ({remedy})" if remedy else str(reason)


@dataclass(slots=True)
class RunCounts:
    """Totals of a run; `planned` always equals ok + failed + skipped."""

    inputs: int = 0
    planned: int = 0
    cells: Counter[str] = field(default_factory=Counter)
    """By end: ok, failed, skipped."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Failed cells by reason."""
    cuts: Counter[str] = field(default_factory=Counter)
    """Ok cells whose reply or prompt was cut short, by reason."""
    skips: Counter[str] = field(default_factory=Counter)
    """Skipped cells by reason."""
    coverage: Counter[str] = field(default_factory=Counter)
    """Inputs by coverage."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Comments by outcome."""
    drops: Counter[str] = field(default_factory=Counter)
    """Dropped comments by reason."""

    def add(
        self,
        cells: Sequence[Cell],
        coverage: str,
        outcomes: Iterable[str],
        drops: Iterable[str] = (),
    ) -> None:
        """Count one input; `drops` are the reasons of its dropped comments."""
        self.inputs += 1
        self.planned += len(cells)
        self.coverage[coverage] += 1
        self.outcomes.update(outcomes)
        self.drops.update(drops)
        for cell in cells:
            self.cells[cell.status] += 1
            if cell.status != "ok":
                counter = self.reasons if cell.status == "failed" else self.skips
                counter[cell.reason or "unknown"] += 1
            elif cell.reason:
                self.cuts[cell.reason] += 1

    @property
    def whole(self) -> bool:
        """Whether every input was reviewed as planned; what is in part by design was."""
        return not self.cells["failed"] and not (
            self.coverage["partial"] or self.coverage["failed"]
        )

    @property
    def good(self) -> int:
        """Inputs that a rerun would not do more for."""
        return sum(self.coverage[name] for name in ("complete", "in_part", "skipped"))

    def as_dict(self) -> ManifestCounts:
        """The counts as manifest.json stores them."""
        ends = {end: self.cells[end] for end in ("ok", "failed", "skipped")}
        coverage = {
            name: self.coverage[name]
            for name in ("complete", "in_part", "partial", "failed", "skipped")
        }
        outcomes = {name: self.outcomes[name] for name in ("kept", "dropped", "unverified")}
        return {
            "inputs": self.inputs,
            "coverage": coverage,
            "cells": {"planned": self.planned, **ends},
            "failed_by_reason": dict(self.reasons.most_common()),
            "cut_by_reason": dict(self.cuts.most_common()),
            "skipped_by_reason": dict(self.skips.most_common()),
            "comments": {"raised": self.outcomes.total(), **outcomes},
            "dropped_by_reason": dict(self.drops.most_common()),
        }

    def sentence(self, whole: str = "complete", gaps: str = "INCOMPLETE") -> str:
        """The result in one line, as the flow run's state carries it; the words for its beginning."""
        good = self.good
        head = whole if self.whole else gaps
        if in_part := self.coverage["in_part"]:
            head += f", {in_part:,} {'input' if in_part == 1 else 'inputs'} in part"
        text = f"{head}: {good:,} of {self.inputs:,} inputs"
        bad = self.inputs - good
        if not bad:
            return text
        return f"{text}, {bad:,} not in full: {self._because()}"

    def _because(self) -> str:
        found = (self.reasons + self.cuts).most_common(4)
        failed = ", ".join(f"{count:,} {_with_remedy(reason)}" for reason, count in found)
        return failed or f"{self.coverage['partial']:,} partial"
