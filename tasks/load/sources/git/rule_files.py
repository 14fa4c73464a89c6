"""
The team's rules in a repository: REVIEW.md and AGENTS.md, from the older side of the reviewed commits.

Never from the newer one: a change cannot weaken its judge. Of all folders only those count that hold
a changed file, or lie above one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from typing import NamedTuple

from tasks.core.git_source import GIT_PREFIX, parse_git_source
from tasks.core.team_rules import RuleFile
from tasks.load.sources.file_text import decode_file, path_text
from tasks.load.sources.git.command import Git
from tasks.load.sources.git.commit_range import CommitRange, commit_range
from tasks.load.sources.git.source import repository_name

__all__ = ["read_rule_files"]

_MOST = 64 * 1024
"""Bytes of one file that are read; max_rule_tokens are fewer."""
_FILES = (b"100644", b"100755")


class _Entry(NamedTuple):
    path: bytes
    blob: str


def read_rule_files(source: str, names: Collection[str]) -> list[RuleFile]:
    """The files of these names that may cover a changed file, in the order of `names` in each folder.

    None of a source that is no repository.

    Raises:
        SourceError: no git, no repository, no such commit.
    """
    if not source.startswith(GIT_PREFIX) or not names:
        return []
    asked = parse_git_source(source)
    git = Git(asked.folder)
    commits = commit_range(git, asked.wanted)
    listed = [os.fsencode(name) for name in names]
    before = list(_entries(git, commits.base, listed))
    if not before:
        return []
    folders, after = _folders(git, commits), set(_entries(git, commits.head, listed))
    found = [one for one in before if one.path.rpartition(b"/")[0] in folders]
    found.sort(key=lambda one: listed.index(one.path.rpartition(b"/")[2]))
    repo = repository_name(git)
    return [
        RuleFile(repo, path_text(one.path), text, one not in after)
        for one in found
        if (text := _text(git, one.blob))
    ]


def _entries(git: Git, commit: str, names: Collection[bytes]) -> Iterator[_Entry]:
    done = git.run("ls-tree", "-r", "-z", "--full-tree", commit)
    if done.returncode:
        git.fail("ls-tree", done.stderr)
    for entry in done.stdout.split(b"\0")[:-1]:
        about, _, path = entry.partition(b"\t")
        mode, _, blob = about.split(b" ")
        if mode in _FILES and path.rpartition(b"/")[2] in names:
            yield _Entry(path, blob.decode("ascii"))


def _folders(git: Git, commits: CommitRange) -> set[bytes]:
    """Folders with a changed file, and those above them."""
    options = ("-r", "-z", "--name-only", "--no-renames", "--no-relative")
    done = git.run("diff-tree", *options, commits.base, commits.head, "--")
    if done.returncode:
        git.fail("diff-tree", done.stderr)
    folders = {b""}
    for name in done.stdout.split(b"\0")[:-1]:
        path = name
        while (path := path.rpartition(b"/")[0]) and path not in folders:
            folders.add(path)
    return folders


def _text(git: Git, blob: str) -> str:
    with git.stream("cat-file", "blob", blob) as output:
        data = output.read(_MOST)
        while output.read(_MOST):
            pass  # else git fails at a closed pipe
    text = decode_file(data).text
    return "" if "\0" in text else text.strip()
