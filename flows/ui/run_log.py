"""Log lines of our libraries, from whatever thread, in the log of the flow run they belong to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["EarlyLog", "into_run"]

Log = logging.Logger | logging.LoggerAdapter[Any]

_MOST = 60
"""Lines a minute; the server stores each one as a row."""


class _Forward(logging.Handler):
    """Passes records on, at a rate the server bears; says how many it left out."""

    def __init__(self, log: Log, most: int) -> None:
        super().__init__(logging.INFO)
        self._log = log
        self._most = most
        self._counting = threading.Lock()
        self._minute = self._passed = self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        passed, dropped = self._count()
        if dropped:
            self._log.warning("%d log lines of the last minute were left out", dropped)
        if passed:
            self._log.log(record.levelno, record.getMessage())

    def _count(self) -> tuple[bool, int]:
        """Whether the line may pass, and how many did not in a minute that is now over."""
        minute, dropped = int(time.monotonic() // 60), 0
        with self._counting:
            if minute != self._minute:
                self._minute, self._passed = minute, 0
                dropped, self._dropped = self._dropped, 0
            self._passed += 1
            self._dropped += self._passed > self._most
            return self._passed <= self._most, dropped


class EarlyLog(logging.Logger):
    """The log of work that begins before its flow run; lines wait, with their times, for one to follow."""

    def __init__(self) -> None:
        super().__init__("early", logging.INFO)
        self._kept: list[logging.LogRecord] = []
        self._target: Log | None = None
        self._switching = threading.Lock()

    def handle(self, record: logging.LogRecord) -> None:
        """Keep a line, or pass it on."""
        with self._switching:
            target = self._target
            if target is None:
                self._kept.append(record)
        if target is not None:
            _pass_on(record, target)

    def follow(self, log: Log) -> None:
        """Pass on to `log`, from now on and all that has waited."""
        with self._switching:
            kept, self._kept, self._target = self._kept, [], log
        for record in kept:
            _pass_on(record, log)


def _pass_on(record: logging.LogRecord, log: Log) -> None:
    """As a line of `log`, which Prefect finds its flow run by, and with the time of the record."""
    logger = log.logger if isinstance(log, logging.LoggerAdapter) else log
    if isinstance(log, logging.LoggerAdapter):
        record.__dict__.update(log.extra or {})
    record.name = logger.name
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


@contextmanager
def into_run(log: Log, most: int = _MOST) -> Iterator[None]:
    """What `tasks` logs in this process goes to `log`, at most `most` lines a minute.

    Prefect finds a thread's run by its context, and threads of our own have none.
    """
    ours, handler = logging.getLogger("tasks"), _Forward(log, most)
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)
