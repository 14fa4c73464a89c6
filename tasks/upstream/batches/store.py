"""
The batches of a state: intents, the questions that open ones hold, and what was refused in a run.

Beside journal and ledger: a SQLite file of its own in the state folder, or tables of its own in the
database. There are few writes, each a transaction of one thread at a time. A transaction that was
interrupted is repeated as a whole; done once more, all is the same.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tasks.core.calls import Refused
from tasks.core.closing import closed_on_error
from tasks.core.errors import StateError
from tasks.core.files import make_private, private_folder
from tasks.core.locations import is_database
from tasks.upstream.batches.intents import OPEN, WAITING, Intent, IntentState, may_become
from tasks.upstream.drivers import load_driver

__all__ = ["SCHEMA", "BatchStore", "open_batches"]

_T = TypeVar("_T")
_COLUMNS = tuple(one.name for one in fields(Intent))
_CHUNK = 500
_KEPT = 35 * 86_400.0
"""Seconds for which an intent is remembered; providers keep files for 30 days."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS intents (
    id TEXT PRIMARY KEY, run_id TEXT NOT NULL, app_id TEXT NOT NULL, provider TEXT NOT NULL,
    endpoint TEXT NOT NULL, model TEXT NOT NULL, sha256 TEXT NOT NULL, requests INTEGER NOT NULL,
    prompt_tokens BIGINT NOT NULL, created DOUBLE PRECISION NOT NULL, state TEXT NOT NULL,
    changed DOUBLE PRECISION NOT NULL, file_id TEXT NOT NULL, batch_id TEXT NOT NULL,
    said TEXT NOT NULL, output_file_id TEXT NOT NULL, error_file_id TEXT NOT NULL,
    done INTEGER NOT NULL, answered INTEGER NOT NULL, refused INTEGER NOT NULL,
    cancelled DOUBLE PRECISION NOT NULL, late INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS questions (
    key TEXT PRIMARY KEY, intent TEXT NOT NULL, paid_for TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS questions_of ON questions (intent);
CREATE TABLE IF NOT EXISTS refusals (
    run_id TEXT NOT NULL, key TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
    app_id TEXT NOT NULL, endpoint TEXT NOT NULL, batch_id TEXT NOT NULL, at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (run_id, key)
)
"""
"""Statements that SQLite and PostgreSQL both take."""


class Db(Protocol):
    """A connection in autocommit mode; `?` marks parameters."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any: ...
    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Any: ...
    def close(self) -> None: ...


class BatchStore:
    """Intents of all runs on a state; threads share one object.

    Every method raises StateError, whose message names the remedy, when the place cannot be used.
    """

    def __init__(self, connect: Callable[[], Db], begin: str) -> None:
        self._connect = connect
        self._begin = begin
        self._lock = threading.Lock()
        self._db: Db | None = connect()

    def plan(self, intent: Intent, questions: Mapping[str, str]) -> set[str]:
        """Store an intent with its questions, key -> whom the answer is paid for.

        Returns the keys that other open intents hold: then nothing was stored.
        """

        def work(db: Db) -> set[str]:
            held = {key for key, one in _holders(db, list(questions)).items() if one != intent.id}
            if held:
                return held
            marks = ",".join("?" * len(_COLUMNS))
            db.execute(
                f"INSERT INTO intents ({','.join(_COLUMNS)}) VALUES ({marks}) ON CONFLICT DO NOTHING",  # noqa: S608
                [getattr(intent, name) for name in _COLUMNS],
            )
            db.executemany(
                "INSERT INTO questions (key, intent, paid_for) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [(key, intent.id, paid_for) for key, paid_for in questions.items()],
            )
            return set()

        return self._transact(work)

    def move(self, intent: Intent, state: IntentState, **changes: Any) -> Intent:
        """The intent in its next state, durable.

        Raises:
            StateError: another process has moved it meanwhile.
        """
        if not may_become(intent.state, state):
            msg = (
                f"batch {intent.batch_id or intent.id} is {intent.state}: it cannot become {state}"
            )
            raise StateError(msg)
        after = replace(intent, state=state, changed=time.time(), **changes)

        def work(db: Db) -> None:
            if not _update(db, after, (intent.state, state)):
                msg = (
                    f"batch {intent.batch_id or intent.id} was moved by another process: run again"
                )
                raise StateError(msg)
            if state in ("read", "abandoned"):
                db.execute("DELETE FROM questions WHERE intent = ?", (intent.id,))

        self._transact(work)
        return after

    def note(self, intent: Intent, **changes: Any) -> Intent:
        """The intent with other facts, in the state that it has."""
        after = replace(intent, **changes)
        self._transact(lambda db: _update(db, after, (intent.state,)))
        return after

    def refuse(self, run_id: str, refusals: Mapping[str, Refused]) -> None:
        """Remember the questions of a run that were refused for good."""
        now = time.time()
        rows = [
            (run_id, key, one.code, one.message, one.app_id, one.endpoint, one.batch_id, now)
            for key, one in refusals.items()
        ]
        self._transact(
            lambda db: db.executemany(
                "INSERT INTO refusals VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows
            )
        )

    def refusals(self, run_id: str) -> dict[str, Refused]:
        """What was refused for good in a run, by the question's key."""
        sql = "SELECT key, code, message, app_id, endpoint, batch_id FROM refusals WHERE run_id = ?"
        rows = self._transact(lambda db: db.execute(sql, (run_id,)).fetchall())
        return {row[0]: Refused(*row[1:]) for row in rows}

    def open(self) -> list[Intent]:
        """Intents for which something is left to do, oldest first."""
        return [one for one in self.all() if one.state in OPEN]

    def all(self, run_id: str | None = None) -> list[Intent]:
        """Intents that are remembered, oldest first; of one run, or of all."""
        where = "" if run_id is None else "WHERE run_id = ?"
        sql = f"SELECT {','.join(_COLUMNS)} FROM intents {where} ORDER BY created, id"  # noqa: S608
        given = () if run_id is None else (run_id,)
        rows = self._transact(lambda db: db.execute(sql, given).fetchall())
        return [Intent(*row) for row in rows]

    def get(self, name: str) -> Intent | None:
        """The intent of that id, or of the batch of that id."""
        return next((one for one in self.all() if name and name in (one.id, one.batch_id)), None)

    def questions(self, intent: Intent) -> dict[str, str]:
        """Its keys, with whom their answers are paid for."""
        sql = "SELECT key, paid_for FROM questions WHERE intent = ?"
        return dict(self._transact(lambda db: db.execute(sql, (intent.id,)).fetchall()))

    def holders(self, keys: Sequence[str]) -> dict[str, str]:
        """Those of `keys` that open intents hold -> the intent's id."""
        return self._transact(lambda db: _holders(db, keys))

    def enqueued(self, app_id: str, model: str) -> int:
        """Tokens of prompts that wait at the provider, those of other runs included."""
        wanted = [one for one in self.open() if one.state in WAITING]
        return sum(
            one.prompt_tokens for one in wanted if (one.app_id, one.model) == (app_id, model)
        )

    def prune(self) -> None:
        """Forget what is older than a provider keeps its files, also a batch that nobody has read."""
        before = time.time() - _KEPT

        def work(db: Db) -> None:
            old = "SELECT id FROM intents WHERE created < ?"
            db.execute(f"DELETE FROM questions WHERE intent IN ({old})", (before,))  # noqa: S608
            db.execute("DELETE FROM intents WHERE created < ?", (before,))
            db.execute("DELETE FROM refusals WHERE at < ?", (before,))

        self._transact(work)

    def close(self) -> None:
        """Let go of the file or the connection. Safe to call twice."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _transact(self, work: Callable[[Db], _T]) -> _T:
        with self._lock:
            for again in (True, False):
                if self._db is None:
                    self._db = self._connect()
                try:
                    return self._once(self._db, work)
                except StateError:
                    if not again or getattr(self._db, "is_usable", True):
                        raise
                    self._db.close()
                    self._db = None  # the session was lost, and with it the transaction
        raise AssertionError

    def _once(self, db: Db, work: Callable[[Db], _T]) -> _T:
        db.execute(self._begin)
        try:
            found = work(db)
            db.execute("COMMIT")
        except BaseException:
            with suppress(StateError, sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        return found


def _update(db: Db, intent: Intent, states: Sequence[str]) -> bool:
    names = [name for name in _COLUMNS if name != "id"]
    sets = ", ".join(f"{name} = ?" for name in names)
    marks = ",".join("?" * len(states))
    cursor = db.execute(
        f"UPDATE intents SET {sets} WHERE id = ? AND state IN ({marks})",  # noqa: S608
        [*(getattr(intent, name) for name in names), intent.id, *states],
    )
    return bool(cursor.rowcount)


def _holders(db: Db, keys: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for first in range(0, len(keys), _CHUNK):
        chunk = keys[first : first + _CHUNK]
        marks = ",".join("?" * len(chunk))
        sql = f"SELECT key, intent FROM questions WHERE key IN ({marks})"  # noqa: S608
        found |= dict(db.execute(sql, list(chunk)).fetchall())
    return found


@contextmanager
def open_batches(place: Path | str) -> Iterator[BatchStore]:
    """The batches in a file, made if it is not there, or in a database.

    Raises:
        StateError: it cannot be used; the message names the remedy.
    """
    if is_database(place):
        driver = load_driver("tasks.upstream.batches.store_postgres")
        store = BatchStore(lambda: driver.connect(str(place)), "BEGIN")
    else:
        store = BatchStore(lambda: _File(Path(place)), "BEGIN IMMEDIATE")
    try:
        yield store
    finally:
        store.close()


class _File:
    """A connection to the file, whose errors name the remedy."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            private_folder(path.parent)
            make_private(path)
            self._db = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            with closed_on_error(self._db):
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.executescript(SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise self._error(error) from error

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
        try:
            return self._db.execute(sql, parameters)
        except sqlite3.Error as error:
            raise self._error(error) from error

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Any:
        try:
            return self._db.executemany(sql, rows)
        except sqlite3.Error as error:
            raise self._error(error) from error

    def close(self) -> None:
        self._db.close()

    def _error(self, error: Exception) -> StateError:
        msg = (
            f"{self._path} cannot be used ({error}): make {self._path.parent} a writable folder with "
            "room, or set another `state`"
        )
        return StateError(msg)
