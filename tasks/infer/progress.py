"""Progress of a shard, as counts that cost nothing to keep."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from operator import add, attrgetter
from pathlib import Path
from typing import Any

from tasks.core.cells import Cell, cells_of, planned_cells
from tasks.core.files import read_json, write_json
from tasks.core.paths import ShardPaths
from tasks.core.periodic import PeriodicTask
from tasks.core.records import TOOL, CallRow, InputReview
from tasks.core.settings import Settings

__all__ = ["Progress", "Tally", "reporting", "total_tally"]


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one shard, or of a run."""

    inputs: int = 0
    """Inputs that are through."""
    cells: int = 0
    """Cells that have ended, whatever way."""
    failed: int = 0
    asked: int = 0
    """Calls that have ended, whatever way; those of the journal are among them."""
    settled: int = 0
    """Those of inputs that are through."""
    calls: int = 0
    """Calls that an upstream answered, in this run."""
    lost: int = 0
    """Calls that failed."""
    journaled: int = 0
    """Calls that the journal answered."""
    queue: float = 0.0
    """Seconds that calls waited for quota, summed over calls."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(*map(add, _VALUES(self), _VALUES(other)))


_VALUES = attrgetter(*(one.name for one in fields(Tally)))


_MANY = 10_000
"""Counts that wait to be added up, where nobody asks for their sum."""


class Progress:
    """A tally that many threads add to."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._lock = threading.Lock()
        self._new: deque[Tally] = deque()
        """Not added up yet: threads that add do not wait for each other."""

    def asked(self, row: CallRow) -> None:
        """Count one call."""
        self._add(_of_call(row, 1))

    def finished(self, cells: Iterable[Cell], calls: Iterable[CallRow]) -> None:
        """Count one input with its cells and calls."""
        self._add(_of_input(list(cells), _calls(calls), 1))

    def reopened(self, review: InputReview, settings: Settings) -> None:
        """Take back one input that is gone through once more."""
        planned = planned_cells(settings.check_names, reviews=settings.reviews)
        cells = cells_of(planned, review.calls, "missing")
        calls = _calls(review.calls)
        self._add(sum((_of_call(row, -1) for row in calls), _of_input(cells, calls, -1)))

    def snapshot(self) -> Tally:
        """The counts now."""
        with self._lock:
            while self._new:
                self._tally += self._new.popleft()
            return self._tally

    def _add(self, more: Tally) -> None:
        self._new.append(more)
        if len(self._new) > _MANY:
            self.snapshot()


def _calls(rows: Iterable[CallRow]) -> list[CallRow]:
    """Those of models: what a tool says of an input is no call."""
    return [row for row in rows if row.model != TOOL]


def _of_call(row: CallRow, sign: int) -> Tally:
    return Tally(
        asked=sign * (row.status != "skipped"),
        lost=sign * (row.status == "failed"),
        journaled=sign * row.journaled,
        calls=sign * (row.status == "ok" and not row.journaled),
        queue=sign * (row.queue_ms or 0) / 1000,
    )


def _of_input(cells: Sequence[Cell], calls: Iterable[CallRow], sign: int) -> Tally:
    return Tally(
        inputs=sign,
        cells=sign * len(cells),
        failed=sign * sum(cell.status == "failed" for cell in cells),
        settled=sign * sum(row.status != "skipped" for row in calls),
    )


def reporting(progress: Progress, path: Path, every: float = 1.0) -> PeriodicTask:
    """A periodic task that writes the tally to `path`, every so many seconds, whatever the speed.

    It is for those who watch: what cannot be written is logged once and costs nothing.
    """

    def write() -> None:
        write_json(path, asdict(progress.snapshot()))

    return PeriodicTask(every, write, "writing the progress", last=True)


def total_tally(shards: Iterable[ShardPaths]) -> Tally:
    """The tallies of all shards, as last written, in one."""
    return sum((_stored(read_json(shard.progress) or {}) for shard in shards), Tally())


def _stored(values: Mapping[str, Any]) -> Tally:
    return Tally(**{one.name: values.get(one.name, 0) for one in fields(Tally)})
