"""Files that appear whole or not at all, alone and together, and who may read them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.errors import OutputError
from tasks.core.files import atomic, hold_folder, is_there, output_errors, publish, write_json
from tasks.upstream.journal.store_sqlite import SqliteJournalStore as Journal
from tasks.upstream.quota.store_sqlite import SqliteQuotaStore as Ledger

_WRITE = "import sys; from pathlib import Path; from tasks.core.files import write_json; write_json(Path(sys.argv[1]), 1)"


def staged(folder: Path) -> tuple[Path, Path]:
    """A folder with an earlier run's outputs, and one with those of the present run."""
    target, new = folder / "out", folder / "out" / ".work" / "outputs"
    new.mkdir(parents=True)
    for name in ("a", "b", "manifest"):
        (target / name).write_text(f"earlier {name}")
        (new / name).write_text(f"new {name}")
    (new / "c").write_text("new c")
    return new, target


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_two_processes_at_one_path_do_not_mix(tmp_path: Path) -> None:
    """Another process writes the same file from begin to end meanwhile: the later one stays, whole."""
    path = tmp_path / "part.jsonl"
    with atomic(path) as file:
        file.write(b"first half, ")
        subprocess.run([sys.executable, "-c", _WRITE, str(path)], check=True, timeout=60)
        assert path.read_bytes() == b"1"
        file.write(b"second half")
    assert path.read_bytes() == b"first half, second half"
    assert [one.name for one in tmp_path.iterdir()] == ["part.jsonl"]


def test_publish_moves_all_and_the_last_one_last(tmp_path: Path) -> None:
    """The new outputs are there, and the staging folder is empty."""
    new, target = staged(tmp_path)
    publish(new, target, "manifest")
    assert contents(target) == {name: f"new {name}" for name in ("a", "b", "c", "manifest")}
    assert not list(new.iterdir())


def test_publish_removes_what_is_stale(tmp_path: Path) -> None:
    """An old file that is not made anew goes, one that is made anew is the new one."""
    new, target = staged(tmp_path)
    (target / "export").write_text("old")
    (new / "carried").write_text("new carried")
    publish(new, target, "manifest", ["export", "carried", "nothing"])
    names = ("a", "b", "c", "carried", "manifest")
    assert contents(target) == {name: f"new {name}" for name in names}


def test_a_move_that_fails_is_taken_back(tmp_path: Path) -> None:
    """A folder stands where one output goes: the earlier outputs stay, and nothing new is beside them."""
    new, target = staged(tmp_path)
    before = contents(target)
    (new / "d").write_text("new d")
    (target / "d" / "in the way").mkdir(parents=True)
    (target / "e").write_text("export")
    before["e"] = "export"
    with pytest.raises(OutputError, match="cannot be written"):
        publish(new, target, "manifest", ["e"])
    assert contents(target) == before


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("the archive is closed"), "the archive is closed"),
        (TimeoutError(), "TimeoutError"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError(errno.ENOSPC, "No space left"), "the disk is full"),
    ],
)
def test_an_error_without_a_number_says_its_own(error: OSError, said: str) -> None:
    """It never says "Success", which is what number 0 stands for."""
    with pytest.raises(OutputError, match=said), output_errors(Path("a")):
        raise error


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """The umask that gives everybody everything."""
    earlier = os.umask(0)
    yield
    os.umask(earlier)


def _others(root: Path) -> dict[str, str]:
    """Modes of what others may touch, by name."""
    found = [root, *root.rglob("*")]
    modes = {str(one.relative_to(root)): one.stat().st_mode & 0o777 for one in found}
    return {name: oct(mode) for name, mode in modes.items() if mode & 0o077}


def test_outputs_are_private_and_stay_so(tmp_path: Path) -> None:
    """Folder, lock and document; one that was open to all is private once it is written again."""
    root = tmp_path / "night"
    with hold_folder(root, root / ".lock"):
        write_json(root / "manifest.json", {})
        (root / "manifest.json").chmod(0o644)
        write_json(root / "manifest.json", {"again": True})

    assert _others(root) == {}


def test_ledger_and_journal_are_private(tmp_path: Path) -> None:
    """The state folder, both files, their logs, locks and owners."""
    state = tmp_path / "state"
    ledger, journal = Ledger(state / "ledger.sqlite"), Journal(state / "journal.sqlite")
    try:
        names = {path.name for path in state.rglob("*")}
        assert {"ledger.sqlite-wal", "ledger.sqlite.lock", "journal.sqlite"} <= names
        assert _others(state) == {}
    finally:
        ledger.close()
        journal.close()


def test_what_cannot_be_looked_at_is_not_taken_for_missing(tmp_path: Path) -> None:
    """A log is removed when its journal is gone, so that an error of the disk must not look like it."""
    (tmp_path / "file").write_text("")
    assert is_there(tmp_path / "file")
    assert not is_there(tmp_path / "missing")
    assert not is_there(tmp_path / "file" / "below")
    with pytest.raises(OSError, match="too long"):
        is_there(tmp_path / ("a" * 5000))
