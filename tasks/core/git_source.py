"""
A git source as a user writes it, taken apart.

    git:PATH@BASE..HEAD    the net change from BASE to HEAD; HEAD may be left out
    git:PATH@BASE...HEAD   the net change on HEAD since it left BASE
    git:PATH@since=last    what arrived since the last finished run of this source; see flows.setup.source_range
    git:PATH@since=24h     what was committed to the current branch in that time; h, d, w or an ISO date

Several of them, with blanks between them, are one source: `git:shop@since=last git:api@since=last`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

from tasks.core.errors import SourceError

__all__ = [
    "GIT_PREFIX",
    "RANGE",
    "SHAPES",
    "SINCE_LAST",
    "GitSource",
    "join_sources",
    "parse_git_source",
    "split_sources",
    "start_of",
]

GIT_PREFIX = "git:"
SINCE_LAST = "since=last"

RANGE = re.compile(r"(?P<base>.+?)(?P<dots>\.{2,3})(?P<head>.*)")
_NEXT = re.compile(r"\s+(?=git:)")
_AGE = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[hdw])")
_HOURS = {"h": 1, "d": 24, "w": 24 * 7}
SHAPES = "write git:PATH@BASE..HEAD, git:PATH@since=last or git:PATH@since=24h"


@dataclass(frozen=True, slots=True)
class GitSource:
    """A git source, taken apart."""

    folder: str
    wanted: str
    """`BASE..HEAD` or `since=...`."""


def parse_git_source(source: str) -> GitSource:
    """Take `git:PATH@WHAT` apart; both halves may hold a further `@`.

    Raises:
        SourceError: no such folder, or what is wanted of it has no known shape.
    """
    text = source.removeprefix(GIT_PREFIX)
    borders = [at for at, character in enumerate(text) if character == "@"]
    if not borders or "\0" in text:
        _fail(source, f"it does not say which changes: {SHAPES}")
    # HEAD@{1} holds an @ as well, so the folder decides which one is the border.
    there = [at for at in borders if Path(text[:at] or ".").is_dir()]
    if not there:
        _fail(source, f"{text[: borders[-1]]} is no folder: check the path")
    at = there[-1]
    wanted = text[at + 1 :]
    if not wanted.startswith("since=") and not RANGE.fullmatch(wanted):
        _fail(source, f"{wanted!r} is neither BASE..HEAD nor since=TIME: {SHAPES}")
    if wanted.startswith("since=") and wanted != SINCE_LAST:
        start_of(wanted.removeprefix("since="), datetime.now().astimezone())
    return GitSource(text[:at] or ".", wanted)


def split_sources(source: str) -> tuple[str, ...]:
    """The repositories of a source; any other source is alone."""
    return tuple(_NEXT.split(source.strip())) if source.startswith(GIT_PREFIX) else (source,)


def join_sources(sources: Sequence[str]) -> str:
    """Several repositories as one source; a single source as it is.

    Raises:
        ValueError: there are several, and one of them is no repository.
    """
    others = [one for one in sources if not one.startswith(GIT_PREFIX)]
    if others and len(sources) > 1:
        msg = f"not a repository: {', '.join(others)}; several sources have to be git:PATH@since=last or the like"
        raise ValueError(msg)
    return " ".join(sources)


def start_of(age: str, now: datetime) -> datetime:
    """The instant that `24h`, `7d`, `2w` or an ISO date means, local time where it says none.

    Raises:
        SourceError: it is none of these, or out of the calendar.
    """
    match = _AGE.fullmatch(age)
    try:
        if match:
            return now - timedelta(hours=int(match["count"]) * _HOURS[match["unit"]])
        return datetime.fromisoformat(age).astimezone()
    except (ValueError, OverflowError):
        msg = f"since={age} is no time: write last, 24h, 7d, 2w or a date such as 2026-11-24T01:30"
        raise SourceError(msg) from None


def _fail(what: str, problem: str) -> NoReturn:
    msg = f"{what}: {problem}"
    raise SourceError(msg)
