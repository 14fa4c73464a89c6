"""Progress of a run: read from the shards' folders at a fixed rate, shown on a terminal and in Prefect."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol, Self
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows.ui.status import Least, Status
from tasks.core.paths import ShardPaths
from tasks.core.periodic import PeriodicTask
from tasks.infer.progress import total_tally
from tasks.report.server_health import server_answers

__all__ = ["Monitor", "on_progress", "on_stage", "stage"]

Show = Callable[[Status], None]
Spent = Callable[[], str]

_STILL = 300.0
"""Seconds after which a bar is drawn anew that stands still."""

_shows: list[Show] = []
_stages: list[Callable[[str], None]] = []


@contextmanager
def on_progress(show: Show) -> Iterator[None]:
    """Have `show` called about once a second with the Status of this process's runs, in the block."""
    _shows.append(show)
    try:
        yield
    finally:
        _shows.remove(show)


@contextmanager
def on_stage(show: Callable[[str], None]) -> Iterator[None]:
    """Have `show` called at each stage of this process's runs, in the block."""
    _stages.append(show)
    try:
        yield
    finally:
        _stages.remove(show)


def stage(text: str) -> None:
    """Say what the run begins with now."""
    for show in _stages:
        show(text)


class Waits(Protocol):
    """The holds and waits of a run, as KeyStatusWatch knows them."""

    def holds(self) -> Mapping[str, float]: ...
    def words(self) -> str: ...


class Monitor:
    """Progress of the shards, shown until the block ends; `artifact_every` seconds bound the API traffic.

    `worked` is how many seconds the shards have been at work before.
    """

    def __init__(
        self,
        shards: Sequence[ShardPaths],
        inputs: int,
        each: int,
        least: Least,
        waits: Waits,
        *,
        spent: Spent = str,
        worked: float = 0.0,
        every: float = 1.0,
        artifact_every: float = 30.0,
    ) -> None:
        self._shards = shards
        self._inputs = inputs
        self._each = each
        self._least = least
        self._waits = waits
        self._spent = spent
        self._artifact_every = artifact_every
        self._artifact: UUID | None = None
        self._drawn_as: tuple[int, str] | None = None
        self._changed = 0.0
        self._drawn = 0.0
        self._ending = False
        self._started = time.monotonic() - worked
        # Artifacts attach to the flow run of the context, which the task copies.
        self._task = PeriodicTask(
            every, self._show, "showing the progress", at_once=True, last=True
        )

    def __enter__(self) -> Self:
        self._task.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._task.__exit__()

    def _show(self) -> None:
        elapsed = time.monotonic() - self._started
        status = self._status(elapsed)
        if self._ending or elapsed - self._drawn >= self._artifact_every:
            self._drawn = elapsed
            # A progress bar that the server cannot take now must not cost the run.
            with suppress(Exception):
                if server_answers():
                    self._draw(status)
        for show in _shows:
            show(status)

    def _status(self, elapsed: float) -> Status:
        waits = self._waits
        return Status(
            *(self._inputs, self._each, total_tally(self._shards), elapsed),
            *(self._least, waits.holds(), waits.words(), self._spent()),
        )

    def _draw(self, status: Status) -> None:
        # Rounded down: the last input of thousands must not look like the end.
        text, percent = status.line(), int(status.share * 100)
        if left := status.remaining:
            text += f", ends about {time.strftime('%a %H:%M', time.localtime(time.time() + left))}"
        # Each update is an event, and the rest of the line changes all the time.
        if (percent, status.waits) == self._drawn_as and status.elapsed - self._changed < _STILL:
            return
        self._drawn_as, self._changed = (percent, status.waits), status.elapsed
        if self._artifact is None:
            made = create_progress_artifact(percent, key="bulk-review-progress", description=text)
            self._artifact = made if isinstance(made, UUID) else None
        else:
            update_progress_artifact(self._artifact, percent, description=text)
