from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import RowError, SourceError
from tasks.load.sources import read_source

CODE = "x = 1\n"
HOUR = timedelta(hours=1)


def found(repository: Any, wanted: str) -> dict[str, Any]:
    """By path: the row, or the reason it was not taken for."""
    rows = list(read_source(f"git:{repository.root}@{wanted}"))
    return {row.snippet: row.row.code if isinstance(row.row, RowError) else row.row for row in rows}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("nowhere..HEAD", "no commit 'nowhere'"),
        ("HEAD..nowhere", "no commit 'nowhere'"),
        ("--output=evil..HEAD", "no commit '--output=evil'"),
        ("HEAD..--help", "no commit '--help'"),
        ("HEAD", "neither BASE..HEAD nor since=TIME"),
        ("..HEAD", "neither BASE..HEAD nor since=TIME"),
        ("since=soon", "since=soon is no time"),
        ("since=24", "since=24 is no time"),
        ("since=last", "was not resolved to the head of an earlier run"),
        ("since=999999w", "is no time"),
        ("since=2026-13-01", "is no time"),
    ],
)
def test_a_wrong_range_says_what_to_write(repository: Any, wanted: str, said: str) -> None:
    """Unknown commits, options in disguise and malformed times are told, and do nothing."""
    repository.commit({"a.py": CODE})
    with pytest.raises(SourceError) as caught:
        found(repository, wanted)
    assert said in str(caught.value)
    assert not list(repository.root.glob("*evil*"))


def test_what_is_no_repository_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain folder, a missing one, an empty repository, no git at all."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for source, said in (
        (f"git:{tmp_path}@HEAD~1..HEAD", "is not in a git repository"),
        (f"git:{tmp_path}/none@HEAD~1..HEAD", "is no folder"),
        (f"git:{tmp_path}", "does not say which changes"),
        ("git:\0@a..b", "does not say which changes"),
    ):
        with pytest.raises(SourceError, match=said):
            list(read_source(source))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="install git"):
        list(read_source(f"git:{tmp_path}@a..b"))


def test_an_empty_repository_has_no_commit(repository: Any) -> None:
    """Said as it is, rather than an empty night."""
    with pytest.raises(SourceError, match="no commit 'HEAD'"):
        found(repository, "since=24h")


def test_nothing_changed_is_an_empty_source(repository: Any) -> None:
    """A quiet night is no error."""
    repository.commit({"a.py": CODE}, ago=48 * HOUR)
    assert found(repository, "HEAD..HEAD") == {}
    assert found(repository, "since=24h") == {}


def test_a_window_of_time(repository: Any) -> None:
    """From the parent of its first commit on; the first of all has the empty tree before it."""
    repository.commit({"a.py": "1\n", "b.py": "1\n"}, ago=72 * HOUR)
    before = repository.commit({"a.py": "2\n"}, ago=48 * HOUR)
    repository.commit({"a.py": "3\n"}, ago=20 * HOUR)
    repository.commit({"a.py": "4\n"}, ago=HOUR)
    rows = found(repository, "since=24h")
    assert "-2\n+4\n" in rows["a.py"]["content"]
    assert rows["a.py"]["base_commit"] == before
    assert "-1\n+4\n" in found(repository, "since=60h")["a.py"]["content"]
    whole = found(repository, "since=2w")
    assert {name: row["change"] for name, row in whole.items()} == {
        "a.py": "added",
        "b.py": "added",
    }
    day = (repository.now - 24 * HOUR).isoformat(timespec="seconds")
    assert found(repository, f"since={day}") == rows


def test_a_window_takes_what_landed_on_the_branch(repository: Any) -> None:
    """An old branch that was merged today arrived today; what main had before did not."""
    repository.commit({"a.py": "1\n"}, ago=99 * HOUR)
    repository.git("checkout", "-q", "-b", "feature")
    repository.commit({"feature.py": "x\n"}, ago=90 * HOUR)
    repository.git("checkout", "-q", "main")
    repository.commit({"main.py": "x\n"}, ago=48 * HOUR)
    repository.git("merge", "-q", "--no-ff", "-m", "merge", "feature", ago=HOUR)
    assert set(found(repository, "since=24h")) == {"feature.py"}


def test_an_old_date_hides_nothing_below_it(repository: Any) -> None:
    """The time is a filter: the walk goes on past a commit whose date says it is a year old."""
    repository.commit({"a.py": "1\n"}, ago=240 * HOUR)
    repository.commit({"b.py": "1\n"}, ago=2 * HOUR)
    repository.commit({"c.py": "1\n"}, ago=400 * 24 * HOUR)
    assert set(found(repository, "since=24h")) == {"b.py", "c.py"}


def test_a_date_of_the_far_future_takes_no_history_along(repository: Any) -> None:
    """One commit with a wrong clock would be inside every time from then on; minutes are no matter."""
    repository.commit({"a.py": "1\n"}, ago=240 * HOUR)
    repository.commit({"b.py": "1\n"}, ago=-9000 * HOUR)
    repository.commit({"c.py": "1\n"}, ago=72 * HOUR)
    assert found(repository, "since=24h") == {}
    repository.commit({"d.py": "1\n"}, ago=-HOUR)
    assert set(found(repository, "since=24h")) == {"d.py"}


def test_the_empty_tree_is_a_base(repository: Any) -> None:
    """A range that begins with the history is written with the tree that stands before it."""
    repository.commit({"a.py": "1\n"})
    base = found(repository, "since=24h")["a.py"]["base_commit"]
    assert set(found(repository, f"{base}..HEAD")) == {"a.py"}


def test_three_dots_are_the_change_since_the_fork(repository: Any) -> None:
    """What main did meanwhile is not the branch's."""
    repository.commit({"a.py": "1\n"})
    repository.git("checkout", "-q", "-b", "feature")
    repository.commit({"feature.py": "x\n"})
    repository.git("checkout", "-q", "main")
    repository.commit({"main.py": "other\n"})
    assert set(found(repository, "main...feature")) == {"feature.py"}
    assert found(repository, "main..feature")["main.py"] == "deleted"


def test_a_shallow_clone_is_named(repository: Any, tmp_path: Path) -> None:
    """Its border must not pass for the beginning of history, nor its gaps for wrong names."""
    old = repository.commit({"a.py": "1\n"}, ago=9 * HOUR)
    repository.commit({"a.py": "2\n"}, ago=8 * HOUR)
    repository.commit({"a.py": "3\n"}, ago=7 * HOUR)
    repository.git("clone", "-q", "--depth=2", f"file://{repository.root}", str(tmp_path / "clone"))
    for wanted in ("since=24h", f"{old}..HEAD"):
        with pytest.raises(SourceError, match="shallow: run git fetch --unshallow"):
            list(read_source(f"git:{tmp_path}/clone@{wanted}"))
    assert len(list(read_source(f"git:{tmp_path}/clone@HEAD~1..HEAD"))) == 1


def test_the_border_between_path_and_range(repository: Any, tmp_path: Path) -> None:
    """Both may hold an @: the folder that exists decides."""
    repository.commit({"a.py": "1\n"})
    repository.commit({"a.py": "2\n"})
    assert set(found(repository, "HEAD@{1}..HEAD@{0}")) == {"a.py"}
    repository.root.rename(tmp_path / "pro@ject")
    rows = list(read_source(f"git:{tmp_path}/pro@ject@HEAD~1.."))
    assert [row.row["repo"] for row in rows] == ["pro@ject"]


def test_bare_repositories_and_subfolders(repository: Any, tmp_path: Path) -> None:
    """A server's copy will do, and from a subfolder it is still the whole repository."""
    repository.commit({"a.py": "1\n", "sub/b.py": "1\n"})
    repository.commit({"a.py": "2\n", "sub/b.py": "2\n"})
    repository.git("clone", "-q", "--bare", ".", str(tmp_path / "bare.git"))
    rows = [
        list(read_source(f"git:{tmp_path}/{name}@HEAD~1..")) for name in ("bare.git", "project/sub")
    ]
    assert [row.row["repo"] for row in rows[0]] == ["bare", "bare"]
    assert [row.row["repo"] for row in rows[1]] == ["project", "project"]
    assert [row.row["input_id"] for row in rows[0]] == [row.row["input_id"] for row in rows[1]]
