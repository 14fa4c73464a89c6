"""A git source becomes two commits, and `since=last` goes on where the last run ended."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import SourceError
from tasks.load.reviewed_heads import ReviewedHead
from tasks.load.sources import read_source
from tasks.load.sources.git.resolve import ResolvedRange, moves_head, resolve_git

HOUR = timedelta(hours=1)


def last(commit: str, at: str = "2026-11-24T01:30:00+00:00") -> ReviewedHead:
    """What a run remembered."""
    return ReviewedHead(commit, "run-1", at)


def resolved(
    repository: Any, head: ReviewedHead | None, wanted: str = "since=last"
) -> ResolvedRange:
    """The range of the repository now."""
    return resolve_git(f"git:{repository.root}@{wanted}", head)


def files(found: ResolvedRange) -> set[str]:
    """The files that a run of the range reads."""
    return {row.snippet for row in read_source(found.source)}


def test_the_first_run_looks_back_a_day(repository: Any) -> None:
    """Nothing is remembered: as since=24h, and it says so."""
    base = repository.commit({"a.py": "1\n"}, ago=48 * HOUR)
    head = repository.commit({"b.py": "1\n"}, ago=HOUR)
    found = resolved(repository, None)
    assert (found.base, found.head, found.commits, found.files) == (base, head, 1, 1)
    assert "since=24h" in str(found.note)


def test_a_branch_of_monday_that_lands_on_thursday(repository: Any) -> None:
    """A fast-forward brings old commits: they are new to the branch, whatever their dates say."""
    base = repository.commit({"a.py": "1\n"}, ago=240 * HOUR)
    repository.git("checkout", "-q", "-b", "feature")
    head = repository.commit({"b.py": "1\n"}, ago=140 * HOUR)
    repository.git("checkout", "-q", "main")
    repository.git("merge", "-q", "--ff-only", "feature")
    found = resolved(repository, last(base))
    assert (found.base, found.head, found.note) == (base, head, None)
    assert files(found) == {"b.py"}
    assert files(resolved(repository, None)) == set()


def test_a_range_stays_what_it_was(repository: Any) -> None:
    """Commits that arrive between the start and the first row are the next run's."""
    base = repository.commit({"a.py": "1\n"}, ago=48 * HOUR)
    repository.commit({"b.py": "1\n"}, ago=HOUR)
    found = resolved(repository, last(base))
    by_name = resolved(repository, None, "HEAD~1..")
    repository.commit({"c.py": "1\n"})
    assert files(found) == files(by_name) == {"b.py"}
    assert resolve_git(found.source, None) == found


def test_the_sentence_of_the_log(repository: Any) -> None:
    """Commits of merged branches count, files are those that differ in the end."""
    base = repository.commit({"a.py": "1\n", "b.py": "1\n"})
    repository.git("checkout", "-q", "-b", "feature")
    repository.commit({"a.py": "2\n"})
    repository.commit({"a.py": "3\n", "b.py": "3\n"})
    repository.git("checkout", "-q", "main")
    repository.git("merge", "-q", "--no-ff", "-m", "merge", "feature")
    found = resolved(repository, last(base))
    assert found.sentence() == f"reviewing {base[:7]}..{found.head[:7]}, 3 commits, 2 files"
    assert found.nothing() == f"nothing changed between {base[:7]} and {found.head[:7]}"
    same = resolved(repository, last(found.head))
    assert (same.commits, same.files) == (0, 0)
    assert same.nothing() == f"nothing changed since {found.head[:7]}"


def test_rewritten_history_goes_on_at_the_merge_base(repository: Any) -> None:
    """The head of last time is no ancestor: from where the two parted, and it says so."""
    base = repository.commit({"a.py": "1\n"}, ago=72 * HOUR)
    old = repository.commit({"b.py": "1\n"}, ago=48 * HOUR)
    repository.git("reset", "-q", "--hard", base)
    head = repository.commit({"c.py": "1\n"}, ago=40 * HOUR)
    found = resolved(repository, last(old))
    assert (found.base, found.head) == (base, head)
    assert "history was rewritten" in str(found.note)
    assert old[:7] in str(found.note)
    assert moves_head(found, last(old))


def test_a_head_that_is_gone_leaves_its_time(repository: Any) -> None:
    """A new clone may lack the commit: everything since a day before that run, and it says so."""
    repository.commit({"a.py": "1\n"}, ago=90 * HOUR)
    repository.commit({"b.py": "1\n"}, ago=50 * HOUR)
    at = (repository.now - 30 * HOUR).isoformat()
    found = resolved(repository, last("1" * 40, at))
    assert files(found) == {"b.py"}
    assert "is not in the repository any more" in str(found.note)
    assert moves_head(found, last("1" * 40, at))


def test_a_shallow_clone_is_no_gap(repository: Any, tmp_path: Path) -> None:
    """A head behind the clone's border is not gone: the remedy is to fetch."""
    old = repository.commit({"a.py": "1\n"}, ago=9 * HOUR)
    repository.commit({"a.py": "2\n"}, ago=8 * HOUR)
    repository.git("clone", "-q", "--depth=1", f"file://{repository.root}", str(tmp_path / "clone"))
    with pytest.raises(SourceError, match="git fetch --unshallow"):
        resolve_git(f"git:{tmp_path}/clone@since=last", last(old))


def test_history_that_begins_in_the_first_run(repository: Any) -> None:
    """The empty tree is remembered like a commit, and everything is new to it."""
    repository.commit({"a.py": "1\n"})
    first = resolved(repository, None)
    repository.commit({"b.py": "1\n"})
    again = resolved(repository, last(first.base))
    assert files(again) == {"a.py", "b.py"}
    assert (again.base, again.commits) == (first.base, 2)
    assert moves_head(again, last(first.base))


def test_what_moves_the_head(repository: Any) -> None:
    """Not a run that begins behind it, nor one that another run is past already."""
    one, two, three = (repository.commit({"a.py": f"{at}\n"}) for at in range(3))
    whole, tail, early = (
        resolved(repository, None, span)
        for span in (f"{one}..{three}", f"{two}..{three}", f"{one}..{two}")
    )
    assert moves_head(whole, last(one))
    assert moves_head(whole, last(two))
    assert not moves_head(tail, last(one))
    assert not moves_head(early, last(three))
    assert moves_head(whole, last(three))
