"""
What the command `run` shows while it works, on stderr, from its first second on.

    a terminal        a bar in one line, the time left the last to go
    a pipe or a file  a line at each stage and every minute, no carriage returns
    --log-json        the same and the run's log, each line a JSON object
    -q                nothing

Imports nothing of Prefect's, which takes a second.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Column

from tasks.core.text_safety import visible, visible_lines

__all__ = [
    "BarDisplay",
    "Display",
    "JsonDisplay",
    "LineDisplay",
    "QuietDisplay",
    "Verbosity",
    "open_display",
    "progress_bar",
]

Verbosity = Literal["quiet", "normal", "verbose", "json"]

_EVERY = 60.0
"""Seconds between two lines."""
_BAR = 12
"""Columns of the bar."""


class Shown(Protocol):
    """Progress at one moment: flows.ui.status.Status."""

    @property
    def share(self) -> float: ...
    @property
    def remaining(self) -> float | None: ...
    def line(self, width: int | None = None) -> str: ...


class Display(Protocol):
    """The display of a run, on stderr."""

    def stage(self, text: str) -> None: ...
    def show(self, status: Shown) -> None: ...
    def log(self, record: logging.LogRecord) -> None: ...
    def error(self, text: str) -> None: ...


class QuietDisplay:
    """A display of errors only."""

    def stage(self, text: str) -> None:
        """Nothing."""

    def show(self, status: Shown) -> None:
        """Nothing."""

    def log(self, record: logging.LogRecord) -> None:
        """Nothing."""

    def error(self, text: str) -> None:
        """One line on stderr, with those after it indented."""
        print(f"error: {visible_lines(text)}", file=sys.stderr, flush=True)


class LineDisplay(QuietDisplay):
    """Whole lines with the time of day, for a pipe or a log."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = clock()

    def stage(self, text: str) -> None:
        """One line."""
        self._said = self._clock()
        self._print(visible(text))

    def show(self, status: Shown) -> None:
        """A line, a minute after the last one."""
        if self._clock() - self._said >= _EVERY:
            self._said = self._clock()
            self._status(status)

    def log(self, record: logging.LogRecord) -> None:
        """A line of the run's log."""
        self._print(f"{record.levelname.lower()}: {visible_lines(record.getMessage())}")

    def _status(self, status: Shown) -> None:
        self._print(f"{status.share:.0%}, {visible(status.line())}")

    def _print(self, text: str) -> None:
        with suppress(BrokenPipeError):
            print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class JsonDisplay(LineDisplay):
    """The same, each line a JSON object: time (epoch seconds), level, event, message."""

    def stage(self, text: str) -> None:
        """An object of the event stage."""
        self._said = self._clock()
        self._object("info", "stage", text)

    def log(self, record: logging.LogRecord) -> None:
        """An object of the event log."""
        self._object(record.levelname.lower(), "log", record.getMessage(), logger=record.name)

    def error(self, text: str) -> None:
        """An object of the event error."""
        self._object("error", "error", text)

    def _status(self, status: Shown) -> None:
        left = status.remaining
        seconds = None if left is None else round(left)
        facts = {"share": round(status.share, 4), "seconds_left": seconds}
        self._object("info", "progress", status.line(), **facts)

    def _object(self, level: str, event: str, message: str, **facts: Any) -> None:
        entry = {"time": round(time.time(), 3), "level": level, "event": event}
        with suppress(BrokenPipeError):
            print(json.dumps(entry | {"message": message} | facts), file=sys.stderr, flush=True)


class BarDisplay(QuietDisplay):
    """A bar that stays in one line of the terminal, whatever its width."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._line = bar.add_task("starting", total=1.0)

    def stage(self, text: str) -> None:
        """The words beside the bar."""
        self._bar.update(self._line, description=visible(text), refresh=True)

    def show(self, status: Shown) -> None:
        """The bar, and as much of the status as fits."""
        room = max(1, self._bar.console.width - _BAR - len(" 100% ") - 2)
        line = visible(status.line(room))
        self._bar.update(self._line, completed=status.share, description=line, refresh=True)

    def log(self, record: logging.LogRecord) -> None:
        """A line above the bar."""
        self._bar.console.print(visible_lines(record.getMessage()), markup=False, highlight=False)


@contextmanager
def open_display(verbosity: Verbosity) -> Iterator[Display]:
    """The display that fits stderr; a bar is gone at the end of the block."""
    if verbosity == "quiet":
        yield QuietDisplay()
    elif verbosity == "json":
        yield JsonDisplay()
    elif not sys.stderr.isatty():
        yield LineDisplay()
    else:
        with progress_bar(Console(stderr=True)) as bar:
            yield BarDisplay(bar)


def progress_bar(console: Console) -> Progress:
    """A bar, its percentage and one line of words, never wider than the console.

    It is drawn when it is told something: a thread that draws it would be there when the run forks.
    """
    words = Column(no_wrap=True, overflow="ellipsis")
    return Progress(
        BarColumn(_BAR),
        TaskProgressColumn(),
        TextColumn("{task.description}", markup=False, table_column=words),
        console=console,
        auto_refresh=False,
        transient=True,
    )
