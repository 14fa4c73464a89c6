"""A journal whose files go away, are replaced or cut while a run uses it is written again."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.main import main
from tasks.core.errors import StateError
from tasks.upstream.journal import open_journal
from tasks.upstream.journal.locks import Locks
from tasks.upstream.journal.recover import check, salvage
from tests.upstream.journal.replies import REPLY, key_of


def delete(path: Path) -> None:
    """The file alone; its log and index stay."""
    path.unlink()


def delete_all(path: Path) -> None:
    """All its files, locks too."""
    for one in path.parent.glob(f"{path.name}*"):
        one.unlink()


def delete_folder(path: Path) -> None:
    """The state folder."""
    shutil.rmtree(path.parent)


def put_older(path: Path) -> None:
    """An older copy, as from a backup, which lacks what was written since."""
    copy = path.with_name("copy.sqlite")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


def put_empty(path: Path) -> None:
    """Another program has begun anew."""
    delete_all(path)
    open_journal(path).close()


def empty_log(path: Path) -> None:
    """Somebody takes the log for a left-over and empties it."""
    path.with_name(f"{path.name}-wal").write_bytes(b"")


CHANGES = [delete, delete_all, delete_folder, put_older, put_empty]


@pytest.fixture
def lively(tmp_path: Path) -> Path:
    """A journal of 4 replies in a folder of its own."""
    path = tmp_path / "state" / "journal.sqlite"
    with open_journal(path) as journal:
        for n in range(4):
            journal.put(key_of(n), REPLY)
    return path


@pytest.mark.parametrize("change", CHANGES)
def test_a_journal_that_is_gone_is_written_again(
    lively: Path, change: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The next commit notices, says so, and every reply, of this run and before, is where runs look."""
    with open_journal(lively) as journal:
        journal.put(key_of(1000), REPLY)
        change(lively)
        journal.put(key_of(1001), REPLY)
        assert "was deleted or replaced while a run was using it" in caplog.text
        journal.put(key_of(1002), REPLY)
        everything = {key_of(n) for n in (*range(4), 1000, 1001, 1002)}
        with open_journal(lively) as other:
            assert set(other.get_many(everything)) == everything
        assert set(journal.get_many(everything)) == everything
    assert check(lively) == []


@pytest.mark.parametrize("change", [delete_all, put_older, empty_log])
def test_what_is_gone_at_the_end_is_written_again(
    lively: Path, change: Callable[[Path], None]
) -> None:
    """Nothing is put after the journal, or its log, went away: closing it notices."""
    with open_journal(lively) as journal:
        journal.put(key_of(1000), REPLY)
        change(lively)
    with open_journal(lively) as found:
        assert found.statistics()["rows"] == 5


def test_two_processes_share_what_was_written_again(lively: Path) -> None:
    """Each carries its own over; none takes anything of the other away."""
    first, second = open_journal(lively), open_journal(lively)
    delete_all(lively)
    first.put(key_of(1000), REPLY)
    second.put(key_of(1001), REPLY)
    first.put(key_of(1002), REPLY)
    everything = {key_of(n) for n in (*range(4), 1000, 1001, 1002)}
    assert set(first.get_many(everything)) == set(second.get_many(everything)) == everything
    # Their locks are the same file again: a claim of one keeps the other off.
    assert first.claim(key_of(7))
    assert not second.claim(key_of(7))
    first.close()
    second.close()


def _points_into(link: Path, folder: Path) -> bool:
    return link.is_symlink() and link.readlink().is_relative_to(folder)


def test_something_else_in_its_place_ends_the_run(lively: Path) -> None:
    """A file that is no journal is left alone, and the error names the remedy."""
    journal = open_journal(lively)
    delete_all(lively)
    lively.write_text("not a database, but long enough to look at\n" * 100)
    for _ in range(2):  # of a run and of its end
        with pytest.raises(StateError, match=r"deleted or replaced.*start again"):
            journal.put(key_of(1001), REPLY)
    with pytest.raises(StateError, match="deleted or replaced") as caught:
        journal.close()
    assert caught.value.__cause__ is not None  # held, and with it what nobody has closed
    assert not [one for one in Path("/proc/self/fd").iterdir() if _points_into(one, lively.parent)]
    assert lively.read_text().startswith("not a database")


def test_salvage_is_refused_while_a_journal_is_open(lively: Path) -> None:
    """An open journal keeps a salvage off, and what it does afterwards is kept; then it works."""
    with open_journal(lively) as journal:
        journal.put(key_of(1000), REPLY)
        assert main(["journal", "salvage", str(lively)]) == 2
        with pytest.raises(StateError, match="is in use: end all runs"):
            salvage(lively)
        assert main(["journal", "compact", str(lively)]) == 0
        journal.put(key_of(1001), REPLY)
    kept, _ = salvage(lively)
    assert kept == 6


def test_a_journal_is_not_opened_during_a_salvage(lively: Path) -> None:
    """What a run would write then would be in the file that is moved aside."""
    locks = Locks(lively, alone=True)
    with pytest.raises(StateError, match="is being salvaged"):
        open_journal(lively)
    locks.close()
    open_journal(lively).close()


def delete_log(path: Path) -> None:
    """Or deletes it."""
    path.with_name(f"{path.name}-wal").unlink()


def cut_log(path: Path) -> None:
    """Its end is gone, with the last commit."""
    log = path.with_name(f"{path.name}-wal")
    log.write_bytes(log.read_bytes()[:-2000])


@pytest.mark.parametrize("change", [empty_log, delete_log, cut_log])
@pytest.mark.parametrize("reads_first", [True, False])
def test_a_log_that_is_cut_is_written_again(
    lively: Path,
    change: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
    *,
    reads_first: bool,
) -> None:
    """What this process knows is in the new file, whatever it does next, and SQLite finds no fault."""
    with open_journal(lively) as journal:
        journal.put(key_of(1000), REPLY)
        change(lively)
        everything = {key_of(n) for n in (*range(4), 1000)}
        if reads_first:
            assert set(journal.get_many(everything)) == everything
        journal.put(key_of(1001), REPLY)
        everything.add(key_of(1001))
        assert "was cut while a run was using it" in caplog.text
        with open_journal(lively) as other:
            assert set(other.get_many(everything)) == everything
        journal.put(key_of(1002), REPLY)
    assert check(lively) == []
    with open_journal(lively) as found:
        assert found.statistics()["rows"] == 7


def test_two_processes_share_a_log_that_is_cut(lively: Path) -> None:
    """Whoever sees it first writes the journal anew; the other one adds what only it knows."""
    first, second = open_journal(lively), open_journal(lively)
    first.put(key_of(1000), REPLY)
    second.put(key_of(1001), REPLY)
    empty_log(lively)
    first.put(key_of(1002), REPLY)
    second.put(key_of(1003), REPLY)
    first.put(key_of(1004), REPLY)
    everything = {key_of(n) for n in (*range(4), *range(1000, 1005))}
    assert set(first.get_many(everything)) == set(second.get_many(everything)) == everything
    first.close()
    second.close()
    assert check(lively) == []


def test_a_cut_log_keeps_what_others_had_written(lively: Path) -> None:
    """The log has commits of a process that was killed since: those before the cut are kept."""
    with open_journal(lively) as journal:
        script = (
            "import os, sys\n"
            "from pathlib import Path\n"
            "from tasks.upstream.journal import open_journal\n"
            "from tests.upstream.journal.replies import REPLY, key_of\n"
            "journal = open_journal(Path(sys.argv[1]))\n"
            "[journal.put(key_of(n), REPLY) for n in (1000, 1001)]\n"
            "os._exit(9)"
        )
        subprocess.run([sys.executable, "-c", script, str(lively)], check=False, timeout=60)
        cut_log(lively)
        journal.put(key_of(1002), REPLY)
        found = set(journal.get_many(map(key_of, (*range(4), 1000, 1001, 1002))))
    assert found == {key_of(n) for n in (*range(4), 1000, 1002)}


def test_a_log_that_sqlite_has_copied_over_is_no_cut(
    lively: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`compact` empties it rightly, and so do 1,000 pages of writing."""
    with open_journal(lively) as journal, open_journal(lively) as other:
        for number in range(300):
            journal.store.write([(number.to_bytes(32), time.time(), "m", bytes(20_000))])
            if number % 150 == 0:
                other.compact()
                other.put(key_of(10_000 + number), REPLY)
        assert journal.statistics()["rows"] == 306
    assert not caplog.records
