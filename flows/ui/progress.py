"""Progress of a run: read from the shards' folders at a fixed rate, shown on a terminal and in Prefect."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.core.paths import ShardPaths
from tasks.infer.progress import Tally, total_tally
from tasks.report.server_health import server_answers

__all__ = ["Monitor", "Status", "on_progress"]

Show = Callable[["Status"], None]
Least = Callable[[int], float]
Spent = Callable[[], str]

_LOGGER = logging.getLogger(__name__)

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
    """Progress of a run at one moment."""

    planned: int
    """Cells of the run."""
    tally: Tally
    elapsed: float
    """Seconds since the shards started."""
    least: Least | None = None
    """Seconds that a number of calls take under the quotas, at the very best."""
    budget: str = ""
    """What is spent of the budget; empty when there is none."""

    @property
    def share(self) -> float:
        """Share of the cells that have ended, 0 to 1."""
        return min(1.0, self.tally.cells / self.planned) if self.planned else 1.0

    @property
    def remaining(self) -> float | None:
        """Seconds to the end: at the pace so far, but never less than the quotas need; None: unknown yet."""
        tally = self.tally
        if not self.elapsed or not (tally.cells or tally.calls):
            return None
        # The first windows go out at once, so the pace of a run's beginning promises too much.
        paced = self.elapsed * (self.planned - tally.cells) / tally.cells if tally.cells else 0.0
        return max(paced, self._quota_needs())

    def _quota_needs(self) -> float:
        tally = self.tally
        if self.least is None:
            return 0.0
        # Cells that the journal answers or that need no call are expected to stay as frequent.
        share = min(1.0, tally.calls / max(1, tally.cells, tally.calls + tally.journaled))
        whole = self.planned * share
        left = max(0, round(whole) - tally.calls)
        return max(self.least(left), self.least(round(whole)) - self.elapsed) if left else 0.0

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
        if self.budget:
            parts.append(self.budget)
        return ", ".join(parts)


class Monitor:
    """A thread that follows the shards until the block ends; `artifact_every` seconds bound the API traffic."""

    def __init__(
        self,
        shards: Sequence[ShardPaths],
        planned: int,
        least: Least | None = None,
        spent: Spent | None = None,
        *,
        every: float = 1.0,
        artifact_every: float = 10.0,
    ) -> None:
        self._shards = shards
        self._planned = planned
        self._least = least
        self._spent = spent
        self._every = every
        self._artifact_every = artifact_every
        self._artifact: UUID | None = None
        self._drawn = 0.0
        self._failing = False
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
        spent = self._spent() if self._spent is not None else ""
        status = Status(self._planned, total_tally(self._shards), elapsed, self._least, spent)
        for show in _shows:
            self._call(show, status)
        if last or elapsed - self._drawn >= self._artifact_every:
            self._drawn = elapsed
            # A progress bar that the server cannot take now must not cost the run.
            with suppress(Exception):
                if server_answers():
                    self._draw(status)

    def _call(self, show: Show, status: Status) -> None:
        try:
            show(status)
        except Exception as error:  # noqa: BLE001 - a display that fails must not cost the run
            if not self._failing:
                _LOGGER.warning(
                    "progress is not shown for now: %s: %s", type(error).__name__, error
                )
            self._failing = True

    def _draw(self, status: Status) -> None:
        text, percent = status.sentence(), status.share * 100
        if left := status.remaining:
            text += f", ends about {time.strftime('%a %H:%M', time.localtime(time.time() + left))}"
        if self._artifact is None:
            made = create_progress_artifact(percent, key="bulk-review-progress", description=text)
            self._artifact = made if isinstance(made, UUID) else None
        else:
            update_progress_artifact(self._artifact, percent, description=text)
