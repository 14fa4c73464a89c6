"""
What a finished run says of itself against what its files hold. Pure: facts in, findings out.

    planned cells = ok + failed + skipped, recounted from the calls
    each input once, and the same inputs in every file
    each file as it was written: bytes, checksum, rows

A finding is one line that names the file and both numbers. No finding means: nothing is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.core.cells import Cell, Plan, RunCounts, cells_of, planned_cells
from tasks.core.manifest import OutputEntry, RunFacts, checks_of, has_review

__all__ = ["FileFacts", "Recount", "compare_files", "plan_of"]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """An output file as it is on disk; `rows` is None where rows cannot be counted."""

    bytes: int
    sha256: str
    rows: int | None = None


def plan_of(manifest: RunFacts) -> Plan:
    """The plan of a run's cells, from the settings in its manifest."""
    settings = manifest["settings"]
    return planned_cells(checks_of(settings), reviews=has_review(settings))


def compare_files(
    recorded: Mapping[str, OutputEntry], found: Mapping[str, FileFacts | None]
) -> Iterator[str]:
    """Differences between the files that the manifest lists and those found; None: it is missing."""
    for name, entry in recorded.items():
        facts = found.get(name)
        if facts is None:
            yield f"{name} is missing"
            continue
        if facts.bytes != entry["bytes"]:
            yield f"{name} has {facts.bytes:,} bytes, not {entry['bytes']:,}"
        if facts.sha256 != entry["sha256"]:
            yield f"{name} was changed after the run: its checksum differs"
        if facts.rows is not None and facts.rows != entry["rows"]:
            yield f"{name} has {facts.rows:,} rows, not {entry['rows']:,}"


@dataclass(slots=True)
class Recount:
    """The counts of a run made anew from its tables: give it every row, then ask for `findings`."""

    planned: Plan
    counts: RunCounts = field(default_factory=RunCounts)
    _coverage: dict[str, str] = field(default_factory=dict)
    """By input_id."""
    _called: set[str] = field(default_factory=set)
    _named: set[str] = field(default_factory=set)
    _outcomes: Counter[str] = field(default_factory=Counter)
    _odd: list[str] = field(default_factory=list)

    def review(self, input_id: str, coverage: str) -> None:
        """Count one row of reviews.parquet."""
        if input_id in self._coverage:
            self._odd.append(f"reviews.parquet has input {input_id!r} more than once")
        self._coverage[input_id] = coverage

    def calls(self, input_id: str, rows: Sequence[Cell]) -> None:
        """Count all rows of one input in calls.parquet."""
        if input_id in self._called:
            self._odd.append(f"calls.parquet has the rows of input {input_id!r} in several places")
        self._called.add(input_id)
        unplanned = {(row.stage, row.name) for row in rows} - set(self.planned)
        if unplanned:
            self._odd.append(f"calls.parquet has a cell that was not planned: {min(unplanned)}")
        cells = cells_of(self.planned, rows, "missing")
        self.counts.add(cells, self._coverage.get(input_id, "unknown"), ())

    def comment(self, input_id: str, outcome: str, drop_reason: str | None) -> None:
        """Count one row of comments.parquet."""
        self._outcomes[outcome] += 1
        if outcome == "dropped":
            self.counts.drops[drop_reason or "unknown"] += 1
        if input_id not in self._coverage:
            self._odd.append(f"comments.parquet has input {input_id!r}, reviews.parquet has not")

    def json_id(self, input_id: str) -> None:
        """Count one key of reviews.json."""
        if input_id in self._named:
            self._odd.append(f"reviews.json has input {input_id!r} more than once")
        self._named.add(input_id)

    def findings(self, manifest: RunFacts) -> Iterator[str]:
        """Differences between manifest and tables; call it when every row was counted."""
        yield from self._odd
        yield from self._missing("calls.parquet", self._called)
        yield from self._missing("reviews.json", self._named)
        self.counts.outcomes.update(self._outcomes)
        recorded, counted = manifest["counts"], self.counts.as_dict()
        ends = counted["cells"]
        if ends["planned"] != ends["ok"] + ends["failed"] + ends["skipped"]:
            yield f"of {ends['planned']:,} cells, {ends} have ended"
        yield from _differences("", recorded, counted)
        if manifest["complete"] != self.counts.whole:
            yield f"the manifest says {manifest['result']!r}; its calls say otherwise"

    def _missing(self, name: str, ids: set[str]) -> Iterator[str]:
        yield from _some(f"{name} lacks input", self._coverage.keys() - ids)
        yield from _some(f"reviews.parquet lacks an input of {name}:", ids - self._coverage.keys())


def _some(what: str, ids: Iterable[str]) -> Iterator[str]:
    first = sorted(ids)
    if first:
        more = f" and {len(first) - 1:,} more" if len(first) > 1 else ""
        yield f"{what} {first[0]!r}{more}"


def _differences(place: str, recorded: Any, counted: Any) -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(counted, dict):
        for name in dict.fromkeys([*recorded, *counted]):
            path = f"{place}.{name}" if place else name
            yield from _differences(path, recorded.get(name, 0), counted.get(name, 0))
    elif recorded != counted:
        yield f"{place}: the manifest says {recorded:,}, the tables say {counted:,}"
