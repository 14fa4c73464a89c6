"""The journal keeps what it acknowledged: over kills, processes, ages and sizes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.calls import Reply, Usage
from tasks.core.errors import StateError
from tasks.upstream.journal import Journal, open_journal
from tasks.upstream.journal.store_sqlite import SqliteJournalStore
from tasks.upstream.journal.writer import GroupWriter, JournalRow
from tests.processes import next_line, started
from tests.runs import await_condition

REPLY = Reply(
    content='{"comments": []} \u2028 ü',
    model="m",
    finish_reason="stop",
    usage=Usage(10, 5, 15),
    request_id="r-1",
    created=1_700_000_000.0,
    app_id="team-a",
    trace_id="t-1",
    endpoint="http://x.test/v1",
    latency=1.5,
    queue=0.25,
)

WRITER = """
import sys, threading
from dataclasses import replace
from tasks.upstream.journal import open_journal
from test_reply import REPLY, key_of

journal = open_journal(sys.argv[1])
def work(thread):
    for n in range(10**6):
        name = f"{sys.argv[2]} {thread} {n}"
        journal.put(key_of(name), replace(REPLY, content=name, model=sys.argv[2]))
        # One write per line: what the parent reads was acknowledged.
        sys.stdout.write(name + chr(10))
        sys.stdout.flush()
for thread in range(8):
    threading.Thread(target=work, args=(thread,)).start()
"""


def key_of(name: str) -> str:
    """A key as requests have them."""
    return hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture(params=["file", "database"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty journal is to be."""
    if request.param == "database":
        return str(request.getfixturevalue("database"))
    return str(tmp_path / "state" / "journal.sqlite")


@pytest.fixture
def journal(place: str) -> Iterator[Journal]:
    """An empty journal."""
    with open_journal(place) as journal:
        yield journal


@pytest.fixture
def file_journal(tmp_path: Path) -> Iterator[Journal]:
    """An empty journal in a file."""
    with open_journal(tmp_path / "state" / "journal.sqlite") as journal:
        yield journal


@contextmanager
def two_writers(
    tmp_path: Path, place: str, stdout: int = subprocess.PIPE
) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that put replies as fast as they can and print each acknowledged one."""
    module = f"from tasks.core.calls import Reply, Usage\nimport hashlib\nREPLY = {REPLY!r}\n"
    module += "def key_of(name):\n    return hashlib.sha256(name.encode()).hexdigest()\n"
    (tmp_path / "test_reply.py").write_text(module)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    with ExitStack() as stack:
        commands = [[sys.executable, "-c", WRITER, place, name] for name in ("one", "two")]
        yield [
            stack.enter_context(started(command, stdout=stdout, env=environment))
            for command in commands
        ]


def test_a_reply_comes_back_as_it_was(journal: Journal) -> None:
    """Every field survives; only `journaled` tells the difference."""
    full = replace(REPLY, first_token=0.5, attempts=3, refusal="no")
    for name, reply in (("plain", REPLY), ("full", full)):
        journal.put(key_of(name), reply)
        assert journal.get(key_of(name)) == replace(reply, journaled=True)
    assert journal.get(key_of("never")) is None


def test_age_decides_what_counts(journal: Journal) -> None:
    """`not_before` hides older replies, and a newer put brings the question back."""
    journal.put(key_of("q"), REPLY)
    later = time.time() + 1
    assert journal.get(key_of("q"), not_before=later) is None
    assert journal.get_many([key_of("q")], not_before=later) == {}
    assert set(journal.get_many([key_of("q")], not_before=later)) == set()
    assert journal.get(key_of("q"), not_before=later - 60) is not None
    journal.put(key_of("q"), replace(REPLY, content="newer"))
    again = journal.get(key_of("q"))
    assert again is not None
    assert again.content == "newer"
    assert journal.statistics()["rows"] == 1


def test_many_at_once(journal: Journal) -> None:
    """More keys than one query takes; missing ones are left out."""
    with ThreadPoolExecutor(64) as executor:
        names = [f"n{n}" for n in range(1200)]
        list(executor.map(lambda name: journal.put(key_of(name), REPLY), names))
    keys = [key_of(name) for name in (*names, "missing")]
    assert set(journal.get_many(keys)) == set(keys[:-1])
    assert set(journal.get_many(keys)) == set(keys[:-1])
    counts = journal.statistics()
    assert counts["rows"] == counts["written"] == 1200
    assert counts["commits"] < 1200, "no two puts of 64 threads shared a commit"


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, place: str) -> None:
    """Two writing processes are killed in the middle; all they acknowledged is there, and whole."""

    def read(writer: subprocess.Popen[str]) -> list[str]:
        assert writer.stdout is not None
        lines = []
        for line in writer.stdout:
            lines.append(line)
            if len(lines) == 400:
                writer.send_signal(signal.SIGKILL)
        return lines

    with two_writers(tmp_path, place) as writers, ThreadPoolExecutor(2) as readers:
        lines = list(readers.map(read, writers))
    # The last line of a killed process may be cut off.
    names = [line.strip() for found in lines for line in found if line.endswith("\n")]
    assert len(names) >= 800
    with open_journal(place) as journal:
        replies = journal.get_many(map(key_of, names))
        assert {replies[key_of(name)].content for name in names} == set(names)
        assert journal.check() == []


def test_two_processes_write_in_turns(tmp_path: Path, place: str) -> None:
    """Neither of two writers starves: while one puts 400 replies, the other puts a fair part."""
    with two_writers(tmp_path, place, subprocess.DEVNULL), open_journal(place) as journal:
        start = counts_when(journal, lambda counts: len(counts) == 2)
        end = counts_when(journal, lambda counts: counts["one"] - start["one"] >= 400)
    assert end["two"] - start["two"] > 80


def counts_when(journal: Journal, ready: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    """Replies per writer, once they are as wanted; at most 30 s."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        counts: dict[str, int] = journal.statistics()["models"]
        if ready(counts):
            return counts
    pytest.fail(f"not reached in 30 s: {counts}")


def test_claims_keep_others_out_until_released(place: str) -> None:
    """Two journals at one place stand for two processes; a claim is for one question only."""
    with open_journal(place) as mine, open_journal(place) as yours:
        assert mine.claim(key_of("q"))
        assert not yours.claim(key_of("q"))
        assert yours.claim(key_of("other"))
        mine.release(key_of("q"))
        assert yours.claim(key_of("q"))


def test_a_dead_owners_claim_is_free(place: str) -> None:
    """A process is killed while it holds a claim; the next asker gets it."""
    code = (
        "import sys; from tasks.upstream.journal import open_journal\n"
        "journal = open_journal(sys.argv[1]); print(journal.claim(sys.argv[2]), flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, place, key_of("q")]
    with started(command, stdin=subprocess.PIPE) as owner:
        assert next_line(owner) == "True"
        with open_journal(place) as journal:
            assert not journal.claim(key_of("q"))
            owner.kill()
            owner.wait(10)
            # The kernel is told at once, a database when it reads the end of the connection.
            await_condition(
                lambda: journal.claim(key_of("q")), "the claim did not go with its owner", 30
            )


def test_expire_and_compact(journal: Journal) -> None:
    """What is old goes, what is new stays, and the file gets smaller."""
    with ThreadPoolExecutor(32) as executor:
        big = replace(REPLY, content=os.urandom(2000).hex())
        list(executor.map(lambda n: journal.put(key_of(f"old {n}"), big), range(500)))
        cut = time.time()
        list(executor.map(lambda n: journal.put(key_of(f"new {n}"), REPLY), range(20)))
    before = journal.statistics()["bytes"]
    assert journal.expire(cut) == 500
    journal.compact()
    after = journal.statistics()
    assert (after["rows"], after["models"]) == (20, {"m": 20})
    assert after["bytes"] < before / 4
    assert after["wal_bytes"] == 0
    assert journal.get(key_of("new 7")) is not None


def test_after_close_it_says_so(journal: Journal) -> None:
    """A put after close is an error, not a silent loss; closing twice is fine."""
    journal.close()
    journal.close()
    with pytest.raises(StateError, match="closed"):
        journal.put(key_of("q"), REPLY)


def test_after_close_nothing_is_asked(journal: Journal) -> None:
    """A thread that comes late hears that it is closed, not that the place is damaged."""
    assert journal.claim(key_of("q"))
    journal.close()
    journal.release(key_of("q"))
    for ask in (journal.get, journal.claim, journal.forget):
        with pytest.raises(StateError, match="is closed: open it again"):
            ask(key_of("q"))


def test_whatever_a_commit_raises_is_told() -> None:
    """A writer that ended with it would leave every thread waiting for ever."""

    def commit(rows: list[JournalRow]) -> None:
        if rows[0][2] == "odd":
            raise MemoryError("odd")  # noqa: EM101

    writer = GroupWriter(commit)
    for model in ("odd", "even", "odd"):
        with pytest.raises(StateError, match="odd") if model == "odd" else nullcontext():
            writer.put((b"key", 0.0, model, b""))
    writer.close()


def locks_on(path: Path) -> list[str]:
    """The kernel's list of this process's locks on a file."""
    mine = (f" {os.getpid()} ", f":{path.stat().st_ino} ")
    lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    return [line.partition(": ")[2] for line in lines if all(part in line for part in mine)]


def test_sqlite_keeps_its_locks_on_the_index(file_journal: Journal, tmp_path: Path) -> None:
    """Without them whoever opens the journal next takes it for unused, and cuts the index off."""
    path = tmp_path / "state" / "journal.sqlite"
    index = path.with_name("journal.sqlite-shm")
    file_journal.get(key_of("1"))
    held = locks_on(index)
    assert held
    file_journal.put(key_of("1"), REPLY)
    with open_journal(path) as other:
        other.put(key_of("2"), REPLY)
    file_journal.put(key_of("3"), REPLY)
    assert locks_on(index) == held


def test_a_full_disk_is_told_and_loses_nothing_else(file_journal: Journal) -> None:
    """SQLite's own page limit stands for a full disk: the put fails with a remedy, the rest is whole."""
    journal, store = file_journal, file_journal.store
    journal.put(key_of("first"), REPLY)
    assert isinstance(store, SqliteJournalStore)
    pages = store.pragma("page_count")
    store.writing.execute(f"PRAGMA max_page_count = {pages}")
    big = replace(REPLY, content=os.urandom(20_000).hex())
    with pytest.raises(StateError, match="free space"):
        journal.put(key_of("big"), big)
    store.writing.execute("PRAGMA max_page_count = 1000000")
    assert journal.get(key_of("big")) is None
    journal.put(key_of("big"), big)
    assert set(journal.get_many([key_of("first"), key_of("big")])) == {
        key_of("first"),
        key_of("big"),
    }
