"""A journal that is damaged, foreign or of another version is never guessed at."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli.main import main
from tasks.core.calls import Reply, Usage
from tasks.core.errors import StateError
from tasks.upstream.journal import open_journal
from tasks.upstream.journal.encoding import encode
from tasks.upstream.journal.locks import Locks
from tasks.upstream.journal.recover import check, salvage

ROWS = 400
REPLY = Reply("", "m", "stop", Usage(), None, 1.0, "a", "t", "http://x.test/v1", 1.0, 0.0)


def key_of(n: int) -> str:
    """A key as requests have them."""
    return hashlib.sha256(f"{n}".encode()).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of 400 replies, all in the main file."""
    path = tmp_path / "journal.sqlite"
    with open_journal(path) as journal:
        contents = [hashlib.sha512(f"{n}".encode()).hexdigest() * 8 for n in range(ROWS)]
        replies = [replace(REPLY, content=content) for content in contents]
        journal.store.write(
            [
                (bytes.fromhex(key_of(n)), time.time(), reply.model, encode(reply))
                for n, reply in enumerate(replies)
            ]
        )
        journal.compact()
    return path


def test_a_torn_log_page_costs_only_what_was_not_acknowledged(path: Path) -> None:
    """The write-ahead log is cut in the middle of its last page: everything before it is there."""
    journal = open_journal(path)
    journal.put(key_of(1000), REPLY)
    log = path.with_name(path.name + "-wal")
    size = log.stat().st_size
    torn = path.with_name("torn.sqlite")
    torn.write_bytes(path.read_bytes())
    torn.with_name("torn.sqlite-wal").write_bytes(log.read_bytes()[: size - 2000])
    journal.close()
    with open_journal(torn) as found:
        assert set(found.get_many(map(key_of, range(ROWS)))) == set(map(key_of, range(ROWS)))
    assert check(torn) == []


def overwrite_pages(path: Path) -> None:
    """Nonsense in the middle, as a bad disk leaves it."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 3 * 4096] = b"\xa5" * (3 * 4096)
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    """The second half is gone."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [overwrite_pages, cut_off])
def test_damage_is_found_and_most_is_salvaged(path: Path, damage: Callable[[Path], None]) -> None:
    """`check` finds it, `salvage` keeps the readable replies, each as it was, and the old file."""
    damage(path)
    assert check(path)
    kept, aside = salvage(path)
    assert ROWS // 4 < kept < ROWS
    assert aside.exists()
    assert check(path) == []
    with open_journal(path) as journal:
        replies = journal.get_many(map(key_of, range(ROWS)))
        assert len(replies) == kept
        for n in range(ROWS):
            expected = hashlib.sha512(f"{n}".encode()).hexdigest() * 8
            assert key_of(n) not in replies or replies[key_of(n)].content == expected


def test_reading_a_damaged_journal_names_the_remedy(path: Path) -> None:
    """A run that meets the damage ends with the command that repairs it."""
    overwrite_pages(path)
    with open_journal(path) as journal, pytest.raises(StateError, match=r"journal salvage"):
        journal.get_many(map(key_of, range(ROWS)))


def test_one_bad_reply_is_asked_again(path: Path) -> None:
    """A body whose checksum fails is as if it were not there, and can be overwritten."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "UPDATE replies SET body = zeroblob(60) WHERE key = ?", (bytes.fromhex(key_of(3)),)
        )
    assert check(path) == [f"reply {key_of(3)} does not decode"]
    with open_journal(path) as journal:
        assert journal.get(key_of(3)) is None
        journal.put(key_of(3), REPLY)
        assert journal.get(key_of(3)) is not None


def test_other_versions_are_refused(path: Path) -> None:
    """A newer and an older journal are left alone, with a message that says what to do."""
    for version, word in ((99, "newer"), (0, "older")):
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(StateError, match=f"{word} version of this program"):
            open_journal(path)


def test_other_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    """Neither another program's database nor a text file is touched."""
    foreign = tmp_path / "foreign.sqlite"
    with closing(sqlite3.connect(foreign)) as database, database:
        database.execute("CREATE TABLE theirs (x)")
    text = tmp_path / "text"
    text.write_text("not a database, but long enough to look at\n" * 100)
    for path, word in ((foreign, "something else"), (text, "salvage")):
        before = path.read_bytes()
        with pytest.raises(StateError, match=word):
            open_journal(path)
        assert path.read_bytes() == before


def test_an_unusable_folder_is_told(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError, match="folder"):
        open_journal(tmp_path / "state" / "journal.sqlite")


def test_the_command_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """statistics, check, expire and compact do what they say; a missing file is exit code 2."""
    assert main(["journal", "statistics", str(path)]) == 0
    assert f'"rows": {ROWS}' in capsys.readouterr().out
    assert main(["journal", "check", str(path)]) == 0
    assert main(["journal", "expire", str(path), "--days", "30"]) == 0
    assert "0 replies deleted" in capsys.readouterr().out
    assert main(["journal", "expire", str(path), "--days", "0"]) == 0
    assert f"{ROWS} replies deleted" in capsys.readouterr().out
    assert main(["journal", "compact", str(path)]) == 0
    assert path.stat().st_size < 20_000
    assert main(["journal", "check", str(path.with_name("missing"))]) == 2
    overwrite_pages(path)
    assert main(["journal", "check", str(path)]) == 1
    assert main(["journal", "salvage", str(path)]) == 0


@pytest.mark.parametrize("number", [2**63, -1, float("inf"), float("nan"), 10**30])
def test_numbers_that_no_table_holds_are_unknown_when_read_back(
    tmp_path: Path, number: float
) -> None:
    """A journal of before replies were bounded gives its answers without their impossible numbers."""
    old = {name: getattr(REPLY, name) for name in ("content", "model", "finish_reason", "app_id")}
    old |= {"request_id": None, "trace_id": "t", "endpoint": "http://x.test/v1", "queue": number}
    old |= {"created": number, "latency": number, "attempts": number, "first_token": number}
    old |= {"usage": {"prompt_tokens": number, "completion_tokens": 3}}
    body = zlib.compress(json.dumps(old).encode())
    path = tmp_path / "journal.sqlite"
    with open_journal(path) as journal:
        journal.put(key_of(1), REPLY)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE replies SET body = ?", (body,))

    with open_journal(path) as journal:
        found = journal.get(key_of(1))

    if found is None:  # not JSON as orjson reads it: asked again
        assert not math.isfinite(number)
        return
    assert found.usage == Usage(completion_tokens=3)
    assert (found.created, found.latency, found.queue, found.attempts) == (0, 0, 0, 1)
    assert found.first_token is None


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


@pytest.mark.parametrize("change", [delete_all, put_older])
def test_a_journal_that_is_gone_at_the_end_is_written_again(
    lively: Path, change: Callable[[Path], None]
) -> None:
    """Nothing is put after it went away: closing it notices."""
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


def empty_log(path: Path) -> None:
    """Somebody takes the log for a left-over and empties it."""
    path.with_name(f"{path.name}-wal").write_bytes(b"")


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


def test_a_log_that_is_cut_at_the_end_is_written_again(lively: Path) -> None:
    """Nothing is put after it was cut: closing the journal notices."""
    with open_journal(lively) as journal:
        journal.put(key_of(1000), REPLY)
        empty_log(lively)
    with open_journal(lively) as found:
        assert found.statistics()["rows"] == 5


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
            "import os, sys; from tests.upstream.journal.test_damage import *\n"
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
