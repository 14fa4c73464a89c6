"""What cannot be used is closed when that is found out."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tasks.core.errors import StateError
from tasks.core.quotas import AppId
from tasks.upstream.batches.store import open_batches
from tasks.upstream.journal import open_journal
from tasks.upstream.journal.recover import check
from tasks.upstream.quota import Quota

Opener = Callable[[Path], object]


def batches(path: Path) -> object:
    with open_batches(path) as store:
        return store


def ledger(path: Path) -> object:
    return Quota(path, [AppId("a")])


def open_files(folder: Path) -> list[str]:
    """Files below the folder that this process has open now."""
    found = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(path) for path in found if path.is_relative_to(folder)]


def text(path: Path) -> None:
    path.write_text("not a database, but long enough to look at\n" * 100)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE theirs (x)")
        database.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("opener", "made"),
    [(open_journal, text), (open_journal, newer), (ledger, newer), (batches, text)],
)
def test_a_file_that_cannot_be_used_is_closed(
    opener: Opener, made: Callable[[Path], None], tmp_path: Path
) -> None:
    """While its error is still in hand, so that no collector has to come by."""
    made(tmp_path / "file")
    with pytest.raises(StateError) as caught:
        opener(tmp_path / "file")
    assert open_files(tmp_path) == []
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("made", [text, newer])
def test_a_check_leaves_nothing_open(made: Callable[[Path], None], tmp_path: Path) -> None:
    """Neither of a file that is sound nor of one that is not."""
    made(tmp_path / "file")
    assert check(tmp_path / "file")
    with open_journal(tmp_path / "sound"):
        pass
    assert check(tmp_path / "sound") == []
    assert open_files(tmp_path) == []
