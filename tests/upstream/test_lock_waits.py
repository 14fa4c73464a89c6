"""Locks of other programs, held by real ones: waited for, told with their holder, or refused."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Thread
from typing import Any

import pytest

from tasks.core.calls import Reply, Usage
from tasks.core.errors import OutputError, StateError
from tasks.core.files import hold_folder
from tasks.upstream import short_calls
from tasks.upstream.journal.journal import Journal
from tasks.upstream.journal.locks import Locks
from tasks.upstream.journal.store_sqlite import SqliteJournalStore
from tasks.upstream.lock_waits import Patience, SlowWait
from tasks.upstream.quota.locks import FileLock, OwnerFile
from tasks.upstream.quota.store_sqlite import SqliteQuotaStore as LedgerStore
from tests.processes import await_threads, next_line, started
from tests.runs import await_condition

REPLY = Reply("", "m", "stop", Usage(), None, 1.0, "a", "t", "http://x.test/v1", 1.0, 0.0)
KEY = "ab" * 32
SOON = Patience(told_after=0.1, most=60)

_DATABASE = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""
_FILE = """
import fcntl, sys
held = open(sys.argv[1], "r+")
fcntl.flock(held, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(program: str, path: Path) -> Iterator[Popen[str]]:
    """Another process holds a lock on the file until its input ends."""
    with started([sys.executable, "-c", program, str(path)], stdin=PIPE) as held:
        assert next_line(held) == "held"
        yield held


def told_and_done(
    holder: Popen[str], work: Callable[[], object], log: pytest.LogCaptureFixture
) -> None:
    """The work waits, the log says for whom, and it is done as soon as the holder ends."""
    thread = Thread(target=work)
    thread.start()
    await_condition(lambda: f"is locked by process {holder.pid} (" in log.text, "it was told")
    assert thread.is_alive()
    holder.kill()
    await_threads([thread])


def test_an_answer_waits_for_a_lock_on_the_journal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A shell has the database: the answer stays in memory and is stored when the shell ends."""
    path = tmp_path / "journal.sqlite"
    with Journal(path, SqliteJournalStore(path, SOON)) as journal:
        with locked(_DATABASE, path) as shell:
            told_and_done(shell, lambda: journal.put(KEY, REPLY), caplog)
        assert journal.get(KEY) is not None


def test_a_transaction_waits_for_a_lock_on_the_ledger(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A backup has the ledger: the transaction is done when the backup ends."""
    path = tmp_path / "ledger.sqlite"
    store = LedgerStore(path, patience=SOON)

    def transact() -> None:
        with store.exclusive() as db:
            db.execute("UPDATE meta SET rev = 77")

    with locked(_DATABASE, path) as backup:
        told_and_done(backup, transact, caplog)
    found = store.peek()
    assert found is not None
    assert found[0] == 77
    store.close()


def test_a_wait_for_the_lock_file_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A stopped process of ours has it, say: the log names it."""
    lock = FileLock(tmp_path / "ledger.sqlite.lock", SOON)
    with lock:
        pass

    def take() -> None:
        with lock:
            pass

    with locked(_FILE, tmp_path / "ledger.sqlite.lock") as holder:
        told_and_done(holder, take, caplog)
    lock.close()


def test_a_lock_that_stays_is_an_error_with_its_holder(tmp_path: Path) -> None:
    """After the patience, and at once for a run that is being stopped; the remedy is to end the holder."""
    journal, ledger = tmp_path / "journal.sqlite", tmp_path / "ledger.sqlite"
    short = Patience(told_after=0.05, most=0.1)
    stores = SqliteJournalStore(journal, short), LedgerStore(ledger, lambda: True, Patience(0.05))
    with locked(_DATABASE, journal) as one, locked(_DATABASE, ledger) as other:
        with pytest.raises(StateError, match=f"locked by process {one.pid} .*end it"):
            stores[0].delete(bytes.fromhex(KEY))
        with (
            pytest.raises(StateError, match=f"locked by process {other.pid} .*end it"),
            stores[1].exclusive(),
        ):
            pass
    for store in stores:
        store.close()


def _no_locks(*_: Any) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def _no_locks_in_c(*_: Any) -> int:
    ctypes.set_errno(errno.ENOLCK)
    return -1


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOLCK, as some network disks give, is an error with its remedy wherever a lock is taken."""
    locks = Locks(tmp_path / "open.sqlite")
    monkeypatch.setattr(fcntl, "fcntl", _no_locks)
    monkeypatch.setattr(fcntl, "flock", _no_locks)
    monkeypatch.setattr(short_calls, "_fcntl", _no_locks_in_c)
    tries: list[Callable[[], object]] = [
        lambda: SqliteJournalStore(tmp_path / "journal.sqlite"),
        lambda: LedgerStore(tmp_path / "ledger.sqlite"),
        lambda: OwnerFile(tmp_path / "owners"),
        lambda: FileLock(tmp_path / "lock").__enter__(),
        lambda: locks.claim(KEY),
        lambda: locks.writing().__enter__(),
    ]
    for one in tries:
        with pytest.raises(StateError, match=r"has no locks: set `state` to a folder on a local"):
            one()
    with (
        pytest.raises(OutputError, match="has no locks: choose an --output on a local disk"),
        hold_folder(tmp_path / "out", tmp_path / "out" / ".lock"),
    ):
        pass


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_lock_that_others_could_hold_is_refused(tmp_path: Path, mode: int) -> None:
    """Whoever may write to a lock file may hold it for ever: the error says how to end that."""
    for store, name in ((SqliteJournalStore, "journal.sqlite"), (LedgerStore, "ledger.sqlite")):
        lock = tmp_path / f"{name}.lock"
        lock.touch()
        lock.chmod(mode)
        with pytest.raises(StateError, match=r"locked for ever, by other users: `chmod 600"):
            store(tmp_path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_a_lock_of_another_user_is_refused(tmp_path: Path) -> None:
    """One that belongs to somebody else counts only in a folder that is shared with a group."""
    for store, name in ((SqliteJournalStore, "journal.sqlite"), (LedgerStore, "ledger.sqlite")):
        lock = tmp_path / f"{name}.lock"
        lock.touch(0o600)
        os.chown(lock, 65534, 65534)
        with pytest.raises(StateError, match=r'belongs to user .*state_mode = "0770"'):
            store(tmp_path / name)
    tmp_path.chmod(0o2770)
    SqliteJournalStore(tmp_path / "journal.sqlite").close()
    LedgerStore(tmp_path / "ledger.sqlite").close()
    tmp_path.chmod(0o700)


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    """A link in its place would lock, and open to the owner alone, what it points to."""
    (tmp_path / "theirs").touch()
    (tmp_path / "journal.sqlite.lock").symlink_to(tmp_path / "theirs")
    with pytest.raises(StateError, match="is no ordinary file"):
        SqliteJournalStore(tmp_path / "journal.sqlite")


def test_a_lock_of_before_is_made_private(tmp_path: Path) -> None:
    """Earlier versions let everybody read it, and so take it."""
    lock = tmp_path / "journal.sqlite.lock"
    lock.touch()
    lock.chmod(0o644)
    SqliteJournalStore(tmp_path / "journal.sqlite").close()
    assert subprocess.check_output(["stat", "-c", "%a", lock], text=True) == "600\n"


def test_a_wait_needs_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.12 starts none after the end of the main thread; what others write then is stored."""

    def refuse(_: Thread) -> None:
        msg = "can't create new thread at interpreter shutdown"
        raise RuntimeError(msg)

    monkeypatch.setattr(Thread, "start", refuse)
    slow, done = SlowWait(tmp_path / "lock", SOON), []
    for number in range(2):
        with slow:
            done.append(number)
    slow.close()
    assert done == [0, 1]
