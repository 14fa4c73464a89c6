"""Which commits a git source means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from tasks.core.errors import SourceError
from tasks.core.git_source import RANGE, SHAPES, start_of
from tasks.load.sources.git.command import Git

__all__ = ["CommitRange", "commit_range"]


@dataclass(frozen=True, slots=True)
class CommitRange:
    """Full ids of the two sides that are compared; `base` is a tree's where history begins."""

    base: str
    head: str


def commit_range(git: Git, wanted: str) -> CommitRange | None:
    """The commits that are compared; None when nothing happened since then.

    Raises:
        SourceError: an unknown revision, or a shallow clone that ends too early.
    """
    if wanted.startswith("since="):
        return _window(git, start_of(wanted.removeprefix("since="), datetime.now().astimezone()))
    match = RANGE.fullmatch(wanted)
    if match is None:
        _fail(wanted, SHAPES)
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
