"""
A run in a few lines of Markdown, for an issue or a chat: what is new, what is gone, what is open.

    open   findings of this run, and those of earlier ones that nobody has looked at since
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from heapq import nsmallest

from tasks.core.manifest import HistoryFacts, RunFacts
from tasks.core.text_safety import markdown_line
from tasks.review.findings.findings import (
    Finding,
    Findings,
    place_text,
    title_of,
    worst_first,
)

__all__ = ["digest"]

_NEW, _GONE, _OLDEST = 10, 5, 5
"""Findings that are listed of each kind."""


def digest(
    facts: RunFacts, inputs: Iterable[Findings], carried: Iterable[Finding] = ()
) -> Iterator[bytes]:
    """The document; `carried` are open findings of earlier runs. Memory holds what is listed."""
    history = facts.get("history")
    seen = _Seen()
    for findings in inputs:
        for finding in findings.shown:
            seen.add(finding)
    for finding in carried:
        seen.add_carried(finding)
    parts = [
        f"## {markdown_line(facts['source'])}: {_counts(history, seen)}",
        markdown_line(facts["result"]),
        *_listed("New" if history else "Findings", seen.worst_new, seen.new),
        *_gone(history),
        *_oldest(seen),
    ]
    yield ("\n\n".join(parts) + "\n").encode()


class _Seen:
    """The counts of the open findings, the worst new ones and those open for longest."""

    def __init__(self) -> None:
        self.new = 0
        self.open = 0
        self.worst_new: list[Finding] = []
        self.oldest: list[Finding] = []

    def add(self, finding: Finding) -> None:
        self.open += 1
        if finding.get("age") == "recurring":
            self._add_old(finding)
            return
        self.new += 1
        self.worst_new = nsmallest(_NEW, [*self.worst_new, finding], key=worst_first)

    def add_carried(self, finding: Finding) -> None:
        self.open += 1
        self._add_old(finding)

    def _add_old(self, finding: Finding) -> None:
        if finding.get("since"):
            self.oldest = nsmallest(
                _OLDEST, [*self.oldest, finding], key=lambda one: (one["since"], *worst_first(one))
            )


def _counts(history: HistoryFacts | None, seen: _Seen) -> str:
    if history is None:
        return f"{seen.open:,} open, no earlier run to compare with"
    text = f"{history['new']:,} new, {history['gone']:,} gone, {seen.open:,} open"
    return f"{text}; first seen {_day(seen.oldest[0]['since'])}" if seen.oldest else text


def _listed(head: str, findings: Iterable[Finding], count: int) -> list[str]:
    lines = [_item(one) for one in findings]
    more = count - len(lines)
    lines += [f"- and {more:,} more"] if more else []
    return [f"**{head}**", "\n".join(lines)] if lines else []


def _item(finding: Finding, note: str = "") -> str:
    place = f"{markdown_line(finding['path'])}, {place_text(finding)}"
    return f"- **{finding['severity']}** {place}: {markdown_line(title_of(finding))}{note}"


def _gone(history: HistoryFacts | None) -> list[str]:
    if history is None or not history["gone"]:
        return []
    lines = [
        f"- {one['severity']} {markdown_line(one['path'])}: {markdown_line(one['title'] or '')}"
        for one in history["worst_gone"][:_GONE]
    ]
    more = history["gone"] - len(lines)
    return ["**Gone**", "\n".join([*lines, *([f"- and {more:,} more"] if more else [])])]


def _oldest(seen: _Seen) -> list[str]:
    lines = [_item(one, f" (since {_day(one['since'])})") for one in seen.oldest]
    return ["**Open for longest**", "\n".join(lines)] if lines else []


def _day(since: str) -> str:
    return datetime.fromisoformat(since).date().isoformat()
