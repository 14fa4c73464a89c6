"""
A git source resolved to two commits, once, so that whatever happens later means the same range.

    since=last    from the head that an earlier run reviewed; the first time as since=24h
    since=TIME    see commit_range
    BASE..HEAD    names become full ids
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.core.errors import SourceError
from tasks.core.git_source import GIT_PREFIX, SINCE_LAST, parse_git_source
from tasks.core.manifest import CommitFacts
from tasks.load.reviewed_heads import ReviewedHead
from tasks.load.sources.git.command import Git
from tasks.load.sources.git.commit_range import (
    CommitRange,
    commit_range,
    find_commit,
    if_shallow,
    is_tree,
    since_time,
)
from tasks.load.sources.git.diff import changes

__all__ = ["ResolvedRange", "check_git", "moves_head", "resolve_git"]

FIRST = timedelta(hours=24)
"""How far a first run of `since=last` looks back."""
_SHORT = 7


@dataclass(frozen=True, slots=True)
class ResolvedRange:
    """The commits that a git source means, in full ids."""

    source: str
    """The same source as git:PATH@BASE..HEAD."""
    base: str
    head: str
    commits: int
    files: int
    note: str | None = None
    """Why it begins elsewhere than at the remembered head."""

    def sentence(self) -> str:
        """The range in words: reviewing 3f2a1c0..9be0412, 14 commits, 37 files."""
        counts = f"{self.commits:,} commits, {self.files:,} files"
        return f"reviewing {self.base[:_SHORT]}..{self.head[:_SHORT]}, {counts}"

    def facts(self) -> CommitFacts:
        """The range as the manifest has it."""
        return {
            "base": self.base,
            "head": self.head,
            "commits": self.commits,
            "files": self.files,
            "note": self.note,
        }

    def nothing(self) -> str:
        """The result of a run that found no changed file."""
        if self.base == self.head:
            return f"nothing changed since {self.base[:_SHORT]}"
        return f"nothing changed between {self.base[:_SHORT]} and {self.head[:_SHORT]}"


def resolve_git(source: str, last: ReviewedHead | None) -> ResolvedRange:
    """The range of a git source now; `last` is the remembered head for `since=last`.

    Raises:
        SourceError: no git, no repository, no such commit, a clone that is too shallow.
    """
    asked = parse_git_source(source)
    git = Git(asked.folder)
    if asked.wanted == SINCE_LAST:
        found, note = _since_last(git, last)
    else:
        found, note = commit_range(git, asked.wanted), None
    span = found.head if is_tree(git, found.base) else f"{found.base}..{found.head}"
    return ResolvedRange(
        source=f"{GIT_PREFIX}{asked.folder}@{found.base}..{found.head}",
        base=found.base,
        head=found.head,
        commits=int(git.text("rev-list", "--count", span, "--")),
        files=len(changes(git, found)),
        note=note,
    )


def check_git(source: str) -> None:
    """What can be said of a git source without looking at what changed.

    Raises:
        SourceError: malformed, no git, no repository, no such commit.
    """
    asked = parse_git_source(source)
    git = Git(asked.folder)
    if asked.wanted.startswith("since="):
        find_commit(git, "HEAD")
    else:
        commit_range(git, asked.wanted)


def moves_head(found: ResolvedRange, last: ReviewedHead | None) -> bool:
    """Whether a run of this range leaves nothing between the remembered head and its own unreviewed.

    Not one that begins behind the remembered head, nor one whose head another run is past already.
    """
    if last is None:
        return True
    git = Git(parse_git_source(found.source).folder)
    if not _exists(git, last.commit) or is_tree(git, last.commit):
        return True
    if last.commit != found.head and _is_ancestor(git, found.head, last.commit):
        return False
    return is_tree(git, found.base) or _is_ancestor(git, found.base, last.commit)


def _since_last(git: Git, last: ReviewedHead | None) -> tuple[CommitRange, str | None]:
    if last is None:
        note = "no finished run of this source with these settings is remembered: since=24h"
        return since_time(git, datetime.now().astimezone() - FIRST), note
    head = find_commit(git, "HEAD")
    if is_tree(git, last.commit) or _is_ancestor(git, last.commit, head):
        return CommitRange(last.commit, head), None
    before = f"{last.commit[:_SHORT]}, which {last.run_id} reviewed last"
    found = git.run("merge-base", last.commit, head)
    if found.returncode == 0:
        base = found.stdout.decode().split()[0]
        note = f"history was rewritten or another branch is checked out: {before}, is no ancestor of HEAD; from their merge base {base[:_SHORT]}"
        return CommitRange(base, head), note
    if shallow := if_shallow(git):
        msg = f"{git.folder}: {before}, is not in it{shallow}"
        raise SourceError(msg)
    # The commit is gone, so its time has to do; a day more, since dates tell when a commit was made.
    start = datetime.fromisoformat(last.at) - FIRST
    note = f"{before}, is not in the repository any more: since={start:%Y-%m-%dT%H:%M%z} instead"
    return since_time(git, start), note


def _exists(git: Git, name: str) -> bool:
    return git.run("cat-file", "-e", name).returncode == 0


def _is_ancestor(git: Git, one: str, other: str) -> bool:
    return git.run("merge-base", "--is-ancestor", one, other).returncode == 0
