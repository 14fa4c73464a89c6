"""What only a database does: end sessions, go away and come back, be asked by other machines."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from flows.cli.main import main
from tasks.core.calls import Reply, Usage
from tasks.core.errors import StateError
from tasks.upstream.journal import open_journal
from tasks.upstream.journal.store_postgres import PostgresJournalStore
from tests.postgres import Postgres, start_postgres
from tests.processes import await_threads, next_line, started
from tests.runs import await_condition

REPLY = Reply(
    content="{}",
    model="m",
    finish_reason="stop",
    usage=Usage(1, 2, 3),
    request_id=None,
    created=1_700_000_000.0,
    app_id="team-a",
    trace_id="t",
    endpoint="http://x.test/v1",
    latency=1.0,
    queue=0.0,
)
KEYS = [f"{number:064x}" for number in range(1 << 240, (1 << 240) + 200)]
_OURS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def ask(url: str, sql: str) -> list[tuple[object, ...]]:
    """Rows of one statement, from a session of the test's own."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def test_two_connections_per_process(database: str) -> None:
    """However many threads ask and write, and both are gone after close."""
    with open_journal(database) as journal:
        threads = [threading.Thread(target=journal.put, args=(key, REPLY)) for key in KEYS[:32]]
        for thread in threads:
            thread.start()
        await_threads(threads)
        assert ask(database, f"SELECT count(*) {_OURS}") == [(2,)]
    await_condition(
        lambda: ask(database, f"SELECT count(*) {_OURS}") == [(0,)], "a connection stayed open", 30
    )


def test_ended_sessions_are_made_again(database: str) -> None:
    """A database administrator ends every session between and during calls; nothing is lost."""
    with open_journal(database) as journal:
        assert journal.claim(KEYS[0])
        for key in KEYS[:20]:
            journal.put(key, REPLY)
            assert ask(database, f"SELECT pg_terminate_backend(pid) {_OURS}")
            assert journal.get(key) is not None
        assert set(journal.get_many(KEYS)) == set(KEYS[:20])
        # The claim went with its session; here it may be taken again.
        assert journal.claim(KEYS[0])


def test_a_restart_loses_nothing_acknowledged(postgres_server: Postgres, database: str) -> None:
    """The server is stopped and started while eight threads write: all of it is there."""
    stop = threading.Event()
    done: list[str] = []

    def work(first: int) -> None:
        for key in KEYS[first::8]:
            journal.put(key, replace(REPLY, content=key))
            done.append(key)
            if len(done) >= 40:
                stop.set()

    with open_journal(database) as journal:
        threads = [threading.Thread(target=work, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        assert stop.wait(30)
        postgres_server.restart()
        await_threads(threads)
        found = journal.get_many(KEYS)
    assert {key: reply.content for key, reply in found.items()} == {key: key for key in KEYS}


def test_a_stopped_claimer_keeps_its_claim(database: str) -> None:
    """SIGSTOP is no death: its call may still be running, so nobody else asks."""
    code = (
        "import sys; from tasks.upstream.journal import open_journal\n"
        "journal = open_journal(sys.argv[1]); print(journal.claim(sys.argv[2]), flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, database, KEYS[0]]
    with started(command, stdin=subprocess.PIPE) as owner:
        assert next_line(owner) == "True"
        owner.send_signal(signal.SIGSTOP)
        with open_journal(database) as journal:
            assert not journal.claim(KEYS[0])
            owner.kill()
            await_condition(
                lambda: journal.claim(KEYS[0]), "the claim did not go with its owner", 30
            )


def test_an_unreachable_database_is_told_with_the_remedy() -> None:
    """Nothing listens: no wait, and the message says what to look at."""
    with pytest.raises(StateError, match=r"postgresql://127\.0\.0\.1/x.*start it"):
        open_journal("postgresql://nobody@127.0.0.1:9/x")


def test_a_newer_journal_is_refused(database: str) -> None:
    """The tables of a version to come are left alone."""
    open_journal(database).close()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE nightly_review_journal.meta SET version = 2")
    with pytest.raises(StateError, match="newer version"):
        open_journal(database)


def test_a_models_name_may_hold_what_a_database_does_not_take(database: str) -> None:
    """A NUL, which its text type refuses, comes back in the reply."""
    odd = replace(REPLY, model="a\0b", content="x\0")
    with open_journal(database) as journal:
        journal.put(KEYS[0], odd)
        assert journal.get(KEYS[0]) == replace(odd, journaled=True)


def test_the_same_commands_look_after_it(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Statistics, check, expire and compact take the URL; salvage says that it is for files."""
    with open_journal(database) as journal:
        journal.put(KEYS[0], REPLY)
    assert main(["journal", "statistics", database]) == 0
    assert '"rows": 1' in capsys.readouterr().out
    assert main(["journal", "check", database]) == 0
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE nightly_review_journal.replies SET body = 'x'")
    assert main(["journal", "check", database]) == 1
    assert "does not decode" in capsys.readouterr().out
    assert main(["journal", "expire", "--days", "0", database]) == 0
    assert main(["journal", "compact", database]) == 0
    assert "1 replies deleted" in capsys.readouterr().out
    assert main(["journal", "salvage", database]) == 2
    assert "backup" in capsys.readouterr().err


def test_expire_spares_a_reply_that_is_being_stored_anew(database: str) -> None:
    """Another process is about to commit a new answer to an old question: it stays, the others go."""
    renewed, old = KEYS[:2]
    with open_journal(database) as journal, psycopg.connect(database) as other:
        for key in (renewed, old):
            journal.put(key, REPLY)
        other.execute(
            "UPDATE nightly_review_journal.replies SET created = created + 3600 WHERE key = %s",
            (bytes.fromhex(renewed),),
        )
        assert journal.expire(time.time() + 60) == 1
        other.commit()
        assert set(journal.get_many([renewed, old])) == {renewed}


def test_two_processes_with_the_same_rows_wait_for_each_other(database: str) -> None:
    """After a restart both may have asked the same; in whatever order they come, nobody deadlocks."""
    rows = [(bytes.fromhex(key), 1.0, "m", b"") for key in KEYS[:3]]
    first, middle, last = rows
    stores = [PostgresJournalStore(database, patient=False) for _ in range(2)]
    stores[0].write(rows)
    held = "UPDATE nightly_review_journal.replies SET created = 2 WHERE key = %s"
    with ThreadPoolExecutor() as pool:
        with psycopg.connect(database) as other:
            other.execute(held, (middle[0],))
            writes = [
                pool.submit(store.write, [begin, middle, end])
                for store, begin, end in zip(stores, (first, last), (last, first), strict=True)
            ]
            waiting = f"SELECT count(*) {_OURS} AND wait_event_type = 'Lock'"
            await_condition(lambda: ask(database, waiting) == [(2,)], "both wait", 30)
        for write in writes:
            write.result(30)
    for store in stores:
        store.close()


def test_a_database_without_an_encoding_will_do(postgres_server: Postgres) -> None:
    """As initdb makes it under LC_ALL=C: text is text."""
    name = f"ascii{uuid.uuid4().hex[:12]}"
    made = f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(made.encode())
    with open_journal(postgres_server.url.replace("/postgres?", f"/{name}?")) as journal:
        journal.put(KEYS[0], replace(REPLY, model="mödel"))
        assert journal.statistics()["models"] == {"mödel": 1}


def test_a_close_does_not_wait_for_a_database_that_is_gone() -> None:
    """Whoever waits for it gives up as soon as the journal is closed."""
    with start_postgres() as server, ThreadPoolExecutor() as pool:
        journal = open_journal(server.database())
        server.stop()
        asked = pool.submit(journal.get, KEYS[0])
        await_condition(asked.running, "it asks", 30)
        pool.submit(journal.close).result(20)
        with pytest.raises(StateError):
            asked.result(20)


def test_a_password_on_the_command_line_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """All users of the machine read command lines; the message does not repeat it."""
    assert main(["journal", "check", "postgresql://me:#hunter22@127.0.0.1:9/x"]) == 2
    said = capsys.readouterr().err
    assert "PGPASSWORD" in said
    assert "hunter22" not in said
