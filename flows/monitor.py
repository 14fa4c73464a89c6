"""Progress of a run: read from the shards' folders at a fixed rate, shown on a terminal and in Prefect."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.core.paths import ShardPaths
from tasks.inference.progress import Tally, total

__all__ = ["Monitor", "Status", "on_progress"]

Show = Callable[["Status"], None]

_shows: list[Show] = []


@contextmanager
def on_progress(show: Show) -> Iterator[None]:
    """Have `show` called about once a second with the Status of this process's runs, in the block."""
    _shows.append(show)
    try:
        yield
    finally:
        _shows.remove(show)


@dataclass(frozen=True, slots=True)
class Status:
    """A run at one moment."""

    planned: int
    """Cells of the run."""
    tally: Tally
    elapsed: float
    """Seconds since the shards started."""

    @property
    def share(self) -> float:
        """0 to 1."""
        return min(1.0, self.tally.cells / self.planned) if self.planned else 1.0

    @property
    def remaining(self) -> float | None:
        """Seconds to the end at the pace so far; None before the first cell has ended."""
        if not self.tally.cells or not self.elapsed:
            return None
        return self.elapsed * (self.planned - self.tally.cells) / self.tally.cells

    def sentence(self) -> str:
        """The status in one line."""
        tally = self.tally
        parts = [f"{tally.cells:,} of {self.planned:,} cells", f"{tally.calls:,} calls"]
        if tally.journaled:
            parts.append(f"{tally.journaled:,} from the journal")
        if self.elapsed > 0:
            parts.append(f"{tally.calls * 60 / self.elapsed:,.0f} calls/min")
        if tally.calls:
            parts.append(f"{tally.queue / max(1, tally.calls):.1f} s quota wait per call")
        if tally.failed:
            parts.append(f"{tally.failed:,} failed")
        return ", ".join(parts)


class Monitor:
    """Follows the shards until the block ends; `artifact_every` seconds bound the API traffic."""

    def __init__(
        self,
        shards: Sequence[ShardPaths],
        planned: int,
        *,
        every: float = 1.0,
        artifact_every: float = 10.0,
    ) -> None:
        self._shards = shards
        self._planned = planned
        self._every = every
        self._artifact_every = artifact_every
        self._artifact: UUID | None = None
        self._drawn = 0.0
        self._started = time.monotonic()
        self._ended = threading.Event()
        # Artifacts attach to the flow run of the thread's context.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name="monitor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._show(last=True)

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            self._show()

    def _show(self, *, last: bool = False) -> None:
        elapsed = time.monotonic() - self._started
        status = Status(self._planned, total(self._shards), elapsed)
        for show in _shows:
            show(status)
        if last or elapsed - self._drawn >= self._artifact_every:
            self._drawn = elapsed
            # A progress bar that the server cannot take now must not cost the run.
            with suppress(Exception):
                self._draw(status)

    def _draw(self, status: Status) -> None:
        text, percent = status.sentence(), status.share * 100
        if self._artifact is None:
            made = create_progress_artifact(percent, key="bulk-review-progress", description=text)
            self._artifact = made if isinstance(made, UUID) else None
        else:
            update_progress_artifact(self._artifact, percent, description=text)
