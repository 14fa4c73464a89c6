"""What a shard has done so far, as numbers that cost nothing to keep."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from tasks.core.cells import Cell, cells_of, planned_cells
from tasks.core.errors import OutputError
from tasks.core.files import read_json, write_json
from tasks.core.paths import ShardPaths
from tasks.core.records import CallRow, InputReview
from tasks.core.settings import Settings

__all__ = ["Progress", "Reporter", "Tally", "total_tally"]

_LOGGER = logging.getLogger(__name__)


@dataclass(slots=True)
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


class Progress:
    """A tally that many threads add to."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._lock = threading.Lock()

    def asked(self, row: CallRow) -> None:
        """Count one call."""
        with self._lock:
            self._count(row, 1)

    def _count(self, row: CallRow, sign: int) -> None:
        self._tally.asked += sign * (row.status != "skipped")
        self._tally.lost += sign * (row.status == "failed")
        self._tally.journaled += sign * row.journaled
        self._tally.calls += sign * (row.status == "ok" and not row.journaled)
        self._tally.queue += sign * (row.queue_ms or 0) / 1000

    def finished(self, cells: Iterable[Cell], calls: Iterable[CallRow]) -> None:
        """Count one input with its cells and calls."""
        with self._lock:
            self._tally.inputs += 1
            self._tally.settled += _made(calls)
            for cell in cells:
                self._tally.cells += 1
                self._tally.failed += cell.status == "failed"

    def reopened(self, review: InputReview, settings: Settings) -> None:
        """Take back one input that is gone through once more."""
        planned = planned_cells(settings.check_names, reviews=settings.reviews)
        cells = cells_of(planned, review.calls, "missing")
        with self._lock:
            self._tally.inputs -= 1
            self._tally.settled -= _made(review.calls)
            self._tally.cells -= len(cells)
            self._tally.failed -= sum(cell.status == "failed" for cell in cells)
            for row in review.calls:
                self._count(row, -1)

    def snapshot(self) -> dict[str, float]:
        """The counts now."""
        with self._lock:
            return {one.name: getattr(self._tally, one.name) for one in fields(Tally)}


def _made(calls: Iterable[CallRow]) -> int:
    return sum(row.status != "skipped" for row in calls)


class Reporter:
    """Writes the tally to the shard's folder at a fixed rate, whatever the speed.

    It is for those who watch: what cannot be written is logged once and costs nothing.
    """

    def __init__(self, progress: Progress, path: Path, every: float = 1.0) -> None:
        self._progress = progress
        self._path = path
        self._every = every
        self._failing = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._write()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            self._write()

    def _write(self) -> None:
        try:
            write_json(self._path, self._progress.snapshot())
        except OutputError as error:
            if not self._failing:
                _LOGGER.warning("progress is not shown for now: %s", error)
            self._failing = True
        else:
            self._failing = False


def total_tally(shards: Iterable[ShardPaths]) -> Tally:
    """The tallies of all shards, as last written, in one."""
    whole = Tally()
    for shard in shards:
        _add(whole, read_json(shard.progress) or {})
    return whole


def _add(whole: Tally, part: Mapping[str, Any]) -> None:
    for one in fields(Tally):
        setattr(whole, one.name, getattr(whole, one.name) + part.get(one.name, 0))
