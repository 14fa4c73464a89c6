"""What stands above the table of findings: how many of each severity, and the ones to read first."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.core.manifest import HistoryFacts
from tasks.core.records import SEVERITIES
from tasks.report.findings import FindingsSummary
from tasks.review.findings.findings import Finding, place_text, severity_index, title_of

__all__ = ["Chip", "Highlight", "Highlights", "highlights"]

_MOST = 8
_MAX_PATH = 200


@dataclass(frozen=True, slots=True)
class Chip:
    """A count with its word, and the class that colours it."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Highlight:
    """A finding in one line; `fingerprint` names its row in the table."""

    severity: str
    title: str
    path: str
    place: str
    is_new: bool
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Highlights:
    """The chips, and the new and the critical findings."""

    chips: tuple[Chip, ...]
    title: str
    listed: tuple[Highlight, ...]
    more: int
    """New and critical findings that are not listed."""
    note: str
    """That there is nothing to list; empty: there is."""


def highlights(found: FindingsSummary, history: HistoryFacts | None) -> Highlights:
    """The findings to read first: critical ones, and those that the earlier run did not show."""
    first = [one for one in found.worst if _is_critical(one) or one["age"] == "new"]
    first.sort(key=lambda one: (severity_index(one), one["age"] != "new"))
    listed = tuple(map(_highlight, first[:_MOST]))
    title = "New and critical findings" if history else "Critical findings"
    more = max(0, found.critical_or_new - _MOST)
    return Highlights(_chips(found, history), title, listed, more, _note(found, history))


def _is_critical(finding: Finding) -> bool:
    return severity_index(finding) == 0


def _note(found: FindingsSummary, history: HistoryFacts | None) -> str:
    if not found.total:
        return "No finding was kept."
    if found.critical_or_new:
        return ""
    return "None is new or critical." if history else "None is critical."


def _chips(found: FindingsSummary, history: HistoryFacts | None) -> tuple[Chip, ...]:
    counts = [(one, found.count(one)) for one in SEVERITIES]
    chips = [Chip(name, f"{count:,} {name}") for name, count in counts if count]
    if history is not None:
        ages = {"new": found.new, "recurring": history["recurring"], "gone": history["gone"]}
        chips += [Chip("age", f"{count:,} {name}") for name, count in ages.items()]
    return tuple(chips)


def _highlight(finding: Finding) -> Highlight:
    return Highlight(
        severity=SEVERITIES[severity_index(finding)],
        title=title_of(finding).removeprefix("[unverified] "),
        path=finding["path"][:_MAX_PATH],
        place=place_text(finding),
        is_new=finding["age"] == "new",
        fingerprint=finding["fingerprint"],
    )
