"""Which commits a git source means."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from tasks.core.errors import SourceError
from tasks.core.git_source import RANGE, SHAPES, SINCE_LAST, start_of
from tasks.load.sources.git.command import Git

__all__ = ["CommitRange", "commit_range", "find_commit", "if_shallow", "is_tree", "since_time"]

_FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_CLOCK_AHEAD = 24 * 3600  # seconds


@dataclass(frozen=True, slots=True)
class CommitRange:
    """Full ids of the two sides that are compared; `base` is a tree's where history begins."""

    base: str
    head: str


def commit_range(git: Git, wanted: str) -> CommitRange:
    """The commits that are compared: both sides are the same when nothing happened.

    `since=TIME` is a filter over the dates of all first parents of HEAD, and not the place where the
    walk stops: BASE is the parent of the commit farthest from HEAD whose committer date is inside the
    time, so a commit with an old date hides nothing below it, and what was merged today counts from
    its merge. Inside ends a day from now: a clock that runs ahead loses no commit, and one date of
    the far future does not take years of history along. Dates tell when a commit was made and not
    when it arrived: for a branch that is fast-forwarded days later use `since=last`.

    Raises:
        SourceError: an unknown revision, or a shallow clone that ends too early.
    """
    if wanted == SINCE_LAST:
        _fail(wanted, "it was not resolved to the head of an earlier run: name a range or a time")
    if wanted.startswith("since="):
        return since_time(git, start_of(wanted.removeprefix("since="), datetime.now().astimezone()))
    match = RANGE.fullmatch(wanted)
    if match is None:
        _fail(wanted, SHAPES)
    if match["dots"] == "..." or not is_tree(git, match["base"]):
        base = find_commit(git, match["base"])
    else:
        base = match["base"]
    head = find_commit(git, match["head"] or "HEAD")
    if match["dots"] == "...":
        found = git.run("merge-base", base, head)
        if found.returncode:
            _fail(wanted, f"the two have no common history{if_shallow(git)}")
        base = found.stdout.decode().split()[0]
    return CommitRange(base, head)


def since_time(git: Git, start: datetime) -> CommitRange:
    """From the parent of the farthest first parent of HEAD that was committed since `start`."""
    head = find_commit(git, "HEAD")
    inside = range(math.ceil(start.timestamp()), int(time.time()) + _CLOCK_AHEAD)
    farthest = None
    with git.stream("rev-list", "--first-parent", "--timestamp", head, "--") as lines:
        for line in lines:
            date, _, commit = line.decode().strip().partition(" ")
            if int(date) in inside:
                farthest = commit
    if farthest is None:
        return CommitRange(head, head)
    parent = git.run("rev-parse", "--verify", "--quiet", f"{farthest}^")
    if parent.returncode == 0:
        return CommitRange(parent.stdout.decode().strip(), head)
    if shallow := if_shallow(git):
        _fail(f"since={start:%Y-%m-%dT%H:%M}", f"history ends inside this time{shallow}")
    return CommitRange(git.text("hash-object", "-t", "tree", "--stdin"), head)


def is_tree(git: Git, name: str) -> bool:
    """Whether a text is the full id of a tree: the empty one stands before the first commit."""
    return bool(_FULL_ID.fullmatch(name)) and git.run("cat-file", "-t", name).stdout == b"tree\n"


def find_commit(git: Git, name: str) -> str:
    """Full id of the commit that a name means.

    Raises:
        SourceError: there is none.
    """
    # A name that begins with a dash would be an option.
    found = None
    if not name.startswith("-"):
        found = git.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
        )
    if found is None or found.returncode:
        _fail(
            git.folder, f"it has no commit {name!r}: check the name, or fetch it{if_shallow(git)}"
        )
    return found.stdout.decode().strip()


def if_shallow(git: Git) -> str:
    """The remedy as the end of a sentence where the clone is shallow, else nothing."""
    shallow = git.run("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
    return "; the clone is shallow: run git fetch --unshallow in it" if shallow else ""


def _fail(what: str, problem: str) -> NoReturn:
    msg = f"{what}: {problem}"
    raise SourceError(msg)
