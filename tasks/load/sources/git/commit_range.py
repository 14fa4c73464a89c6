"""
Which commits a git source means.

    git:PATH@BASE..HEAD    the net change from BASE to HEAD; HEAD may be left out
    git:PATH@BASE...HEAD   the net change on HEAD since it left BASE
    git:PATH@since=24h     what arrived on the current branch in that time; h, d, w or an ISO date
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

from tasks.core.errors import SourceError
from tasks.load.sources.git.command import Git

__all__ = ["PREFIX", "CommitRange", "GitSource", "commit_range", "parse_git_source"]

PREFIX = "git:"

_RANGE = re.compile(r"(?P<base>.+?)(?P<dots>\.{2,3})(?P<head>.*)")
_AGE = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[hdw])")
_HOURS = {"h": 1, "d": 24, "w": 24 * 7}
_SHAPES = "write git:PATH@BASE..HEAD or git:PATH@since=24h"


@dataclass(frozen=True, slots=True)
class GitSource:
    """A git source, taken apart."""

    folder: str
    wanted: str
    """`BASE..HEAD` or `since=...`."""


@dataclass(frozen=True, slots=True)
class CommitRange:
    """Full ids of the two sides that are compared; `base` is a tree's where history begins."""

    base: str
    head: str


def parse_git_source(source: str) -> GitSource:
    """Take `git:PATH@WHAT` apart; both halves may hold a further `@`.

    Raises:
        SourceError: no such folder, or what is wanted of it has no known shape.
    """
    text = source.removeprefix(PREFIX)
    borders = [at for at, character in enumerate(text) if character == "@"]
    if not borders or "\0" in text:
        _fail(source, f"it does not say which changes: {_SHAPES}")
    # HEAD@{1} holds an @ as well, so the folder decides which one is the border.
    there = [at for at in borders if Path(text[:at] or ".").is_dir()]
    if not there:
        _fail(source, f"{text[: borders[-1]]} is no folder: check the path")
    at = there[-1]
    wanted = text[at + 1 :]
    if not wanted.startswith("since=") and not _RANGE.fullmatch(wanted):
        _fail(source, f"{wanted!r} is neither BASE..HEAD nor since=TIME: {_SHAPES}")
    if wanted.startswith("since="):
        start_of(wanted.removeprefix("since="), datetime.now().astimezone())
    return GitSource(text[:at] or ".", wanted)


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
        msg = f"since={age} is no time: write 24h, 7d, 2w or a date such as 2026-11-24T01:30"
        raise SourceError(msg) from None


def commit_range(git: Git, wanted: str) -> CommitRange | None:
    """The commits that are compared; None when nothing happened since then.

    Raises:
        SourceError: an unknown revision, or a shallow clone that ends too early.
    """
    if wanted.startswith("since="):
        return _window(git, start_of(wanted.removeprefix("since="), datetime.now().astimezone()))
    match = _RANGE.fullmatch(wanted)
    if match is None:
        _fail(wanted, _SHAPES)
    base, head = _commit(git, match["base"]), _commit(git, match["head"] or "HEAD")
    if match["dots"] == "...":
        found = git.run("merge-base", base, head)
        if found.returncode:
            _fail(wanted, f"the two have no common history{_if_shallow(git)}")
        base = found.stdout.decode().split()[0]
    return CommitRange(base, head)


def _window(git: Git, start: datetime) -> CommitRange | None:
    head = _commit(git, "HEAD")
    since = f"--since={start.isoformat(timespec='seconds')}"
    # Along first parents: what landed on this branch, whenever it was written elsewhere.
    commits = git.text("rev-list", "--first-parent", since, head, "--").split()
    if not commits:
        return None
    parent = git.run("rev-parse", "--verify", "--quiet", f"{commits[-1]}^")
    if parent.returncode == 0:
        return CommitRange(parent.stdout.decode().strip(), head)
    if shallow := _if_shallow(git):
        _fail(f"since={start:%Y-%m-%dT%H:%M}", f"history ends inside this time{shallow}")
    return CommitRange(git.text("hash-object", "-t", "tree", "--stdin"), head)


def _commit(git: Git, name: str) -> str:
    # A name that begins with a dash would be an option.
    found = None
    if not name.startswith("-"):
        found = git.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
        )
    if found is None or found.returncode:
        _fail(
            git.folder, f"it has no commit {name!r}: check the name, or fetch it{_if_shallow(git)}"
        )
    return found.stdout.decode().strip()


def _if_shallow(git: Git) -> str:
    shallow = git.run("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
    return "; the clone is shallow: run git fetch --unshallow in it" if shallow else ""


def _fail(what: str, problem: str) -> NoReturn:
    msg = f"{what}: {problem}"
    raise SourceError(msg)
