"""What a person at the terminal gets to see: a bar, a summary and errors of ours, not Prefect's log."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["filter_prefect_console", "mute_prefect_console", "mute_shard_console", "run_log_to"]

_CONSOLE_LEVEL, _INTERNAL_LEVEL = (
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL",
    "PREFECT_INTERNAL_LOGGING_LEVEL",
)

_RUN_LOGS = ("prefect.flow_runs", "prefect.task_runs")
"""Loggers of a run's own lines."""

_LEFT_OUT = ("prefect.task_runs", "prefect.engine", "prefect.events")
"""Loggers that repeat, with a traceback, what the command says in one line."""


_SAID_ELSEWHERE = ("ConnectError(", "Crash detected!")
"""A server that is gone is told of once, at the end; so is what ends a run, as Ctrl-C does."""


def _worth_showing(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    return not record.name.startswith(_LEFT_OUT) and not any(one in text for one in _SAID_ELSEWHERE)


def mute_prefect_console() -> None:
    """For the command line, before it imports Prefect, which is when Prefect reads these variables.

    Prefect keeps every line of its log in its database anyway.
    """
    os.environ.setdefault(_CONSOLE_LEVEL, "ERROR")
    # Prefect would start servers of its own, one per process, and leave them behind.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_ENABLED", "false")
    # Each event that a dead server does not take would be printed in full.
    os.environ.setdefault(_INTERNAL_LEVEL, "CRITICAL")


def filter_prefect_console() -> None:
    """For the command line, once it has imported Prefect: leave out what it says itself.

    A process that had imported Prefect before `mute_prefect_console` gets the levels now. To read
    Prefect's whole configuration anew takes a quarter of a second.
    """
    for handler in _consoles():
        handler.setLevel(os.environ[_CONSOLE_LEVEL].upper())
        handler.addFilter(_worth_showing)
    logging.getLogger("prefect._internal").setLevel(os.environ[_INTERNAL_LEVEL].upper())


@contextmanager
def run_log_to(show: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    """Give `show` each line of the run's log in the block, and Prefect's console none."""
    handler = _Shown(show)
    handler.addFilter(_worth_showing)
    loggers = [logging.getLogger(name) for name in _RUN_LOGS]
    consoles = {console: console.level for console in _consoles()}
    for logger in loggers:
        logger.addHandler(handler)
    for console in consoles:
        console.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        for console, level in consoles.items():
            console.setLevel(level)


class _Shown(logging.Handler):
    """A handler that is a function."""

    def __init__(self, show: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(logging.INFO)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record)


def mute_shard_console() -> None:
    """For a shard's process: its supervisor says on the terminal what ended it."""
    # A line that Prefect's server does not take is one line less, and not a traceback.
    logging.raiseExceptions = False
    for handler in _consoles():
        handler.setLevel(logging.CRITICAL)


def _consoles() -> set[logging.Handler]:
    from prefect.logging.handlers import PrefectConsoleHandler  # noqa: PLC0415 - see mute_prefect_console

    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    found = (handler for logger in loggers for handler in logger.handlers)
    return {handler for handler in found if isinstance(handler, PrefectConsoleHandler)}
