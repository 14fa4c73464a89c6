"""Files that cannot be written, and who may read those that are."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.errors import OutputError
from tasks.core.files import hold_folder, output_errors, write_json
from tasks.upstream.journal.store_sqlite import SqliteStore as Journal
from tasks.upstream.quota.store_sqlite import SqliteStore as Ledger


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
