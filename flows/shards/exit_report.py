"""Why a shard's process gives up, told to its supervisor through a file in the shard's folder.

An exit code says too little, and Prefect's server may be what failed. The file is made while there
is room and written over in place, so that a full disk can be told of on that very disk.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import orjson

from tasks.core.errors import ReviewError, StateError, UserError
from tasks.core.files import output_errors, read_json
from tasks.core.paths import ShardPaths
from tasks.upstream.calls.scrub import Scrubber

__all__ = ["ExitReport", "read_exit_report", "reserve_exit_report", "write_exit_report"]

_ROOM = 8192
_MESSAGE = 1000


@dataclass(frozen=True, slots=True)
class ExitReport:
    """The reason why a shard's process gave up."""

    code: str
    message: str
    lasting: bool
    """Starting again does not help: somebody has to do what the message says."""


def reserve_exit_report(shard: ShardPaths) -> None:
    """Reserve the report's room on the disk, before the process starts.

    Raises:
        OutputError: the folder cannot be written.
    """
    with output_errors(shard.exit_report):
        shard.exit_report.write_bytes(b" " * _ROOM)


def write_exit_report(
    shard: ShardPaths, error: Exception, scrub: Scrubber | None = None
) -> ExitReport:
    """Write down what ended the process, without keys; returns what was written."""
    known = isinstance(error, ReviewError)
    text = str(error) if known else f"{type(error).__name__}: {error}"
    words = ExitReport(
        code=error.code if isinstance(error, ReviewError) else "crash",
        message=(scrub or Scrubber())(text, _MESSAGE),
        lasting=isinstance(error, UserError | StateError),
    )
    with suppress(OSError), shard.exit_report.open("r+b") as file:
        file.write(orjson.dumps(words))
    return words


def read_exit_report(shard: ShardPaths) -> ExitReport | None:
    """What the process left; None: it was killed, or it is still at work."""
    found = read_json(shard.exit_report)
    return ExitReport(**found) if isinstance(found, dict) else None
