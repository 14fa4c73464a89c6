"""A journal that is damaged, foreign or of another version is never guessed at."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli.main import main
from tasks.core.calls import Usage
from tasks.core.errors import StateError
from tasks.upstream.journal import open_journal
from tasks.upstream.journal.encoding import encode
from tasks.upstream.journal.recover import check, salvage
from tests.upstream.journal.replies import REPLY, key_of

ROWS = 400


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
