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

from tasks.core.cells import Cell, Counts, cells_of, planned_cells

__all__ = ["FileFacts", "Recount", "compare_files", "plan_of"]

Plan = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """An output as it is on disk; `rows` is None for files whose rows cannot be counted."""

    bytes: int
    sha256: str
    rows: int | None = None


def plan_of(manifest: Mapping[str, Any]) -> Plan:
    """(stage, name) of each cell that every input of the run has."""
    settings = manifest["settings"]
    checks = [check["name"] for check in settings["check"]]
    return planned_cells(checks, reviews=settings["mode"] == "check_and_review")


def compare_files(
    recorded: Mapping[str, Mapping[str, Any]], found: Mapping[str, FileFacts | None]
) -> Iterator[str]:
    """Findings on the files that the manifest lists; None stands for a missing one."""
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
    """A run's counts, made anew from its tables. Feed it every row, then ask for `findings`."""

    planned: Plan
    counts: Counts = field(default_factory=Counts)
    _coverage: dict[str, str] = field(default_factory=dict)
    """By input_id."""
    _called: set[str] = field(default_factory=set)
    _named: set[str] = field(default_factory=set)
    _outcomes: Counter[str] = field(default_factory=Counter)
    _odd: list[str] = field(default_factory=list)

    def review(self, input_id: str, coverage: str) -> None:
        """One row of reviews.parquet."""
        if input_id in self._coverage:
            self._odd.append(f"reviews.parquet has input {input_id!r} more than once")
        self._coverage[input_id] = coverage

    def calls(self, input_id: str, rows: Sequence[Cell]) -> None:
        """All rows of one input in calls.parquet."""
        if input_id in self._called:
            self._odd.append(f"calls.parquet has the rows of input {input_id!r} in several places")
        self._called.add(input_id)
        unplanned = {(row.stage, row.name) for row in rows} - set(self.planned)
        if unplanned:
            self._odd.append(f"calls.parquet has a cell that was not planned: {min(unplanned)}")
        cells = cells_of(self.planned, rows, "missing")
        self.counts.add(cells, self._coverage.get(input_id, "unknown"), ())

    def comment(self, input_id: str, outcome: str, drop_reason: str | None) -> None:
        """One row of comments.parquet."""
        self._outcomes[outcome] += 1
        if outcome == "dropped":
            self.counts.drops[drop_reason or "unknown"] += 1
        if input_id not in self._coverage:
            self._odd.append(f"comments.parquet has input {input_id!r}, reviews.parquet has not")

    def json_id(self, input_id: str) -> None:
        """One key of reviews.json."""
        if input_id in self._named:
            self._odd.append(f"reviews.json has input {input_id!r} more than once")
        self._named.add(input_id)

    def findings(self, manifest: Mapping[str, Any]) -> Iterator[str]:
        """What does not agree; call it when everything was fed."""
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
