"""The journal: question -> reply, durable before a call counts as done, shared by all processes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from tasks.core.calls import Reply
from tasks.core.errors import StateError
from tasks.core.locations import is_database, redacted
from tasks.upstream.drivers import load_driver
from tasks.upstream.journal.encoding import DAMAGED, decode, encode
from tasks.upstream.journal.store import JournalStore
from tasks.upstream.journal.store_sqlite import SqliteJournalStore
from tasks.upstream.journal.writer import GroupWriter

__all__ = ["Journal", "open_journal"]

_LOGGER = logging.getLogger(__name__)
_EXPIRE_CHUNK = 2000  # rows deleted per transaction, so that running jobs get their turn


def open_journal(place: Path | str, *, patient: bool = False) -> Journal:
    """The journal in a file or a database; made if it is not there.

    `patient`: a database that is gone now is waited for, as it always is later on.

    Raises:
        StateError: it cannot be used; the message names the remedy.
    """
    return Journal(place, _open_store(place, patient=patient))


def _open_store(place: Path | str, *, patient: bool) -> JournalStore:
    if not is_database(place):
        return SqliteJournalStore(Path(place))
    store: JournalStore = load_driver("tasks.upstream.journal.store_postgres").PostgresJournalStore(
        str(place), patient=patient
    )
    return store


class Journal:
    """
    All replies ever paid for. Threads share one object; each process opens its own.

    Keys are those of `Answers`; times are seconds since the epoch. Failed calls are not in it, so the next
    run asks them again. Every method raises StateError when the place cannot be used.
    """

    def __init__(self, place: Path | str, store: JournalStore) -> None:
        self.store = store
        self._name = redacted(place)
        self._writer = GroupWriter(store.write)

    def get(self, key: str, *, not_before: float | None = None) -> Reply | None:
        """The stored reply, or None; one stored before `not_before` is as if it were not there."""
        return self.get_many([key], not_before=not_before).get(key)

    def get_many(self, keys: Iterable[str], *, not_before: float | None = None) -> dict[str, Reply]:
        """Those of `keys` that are answered, with their replies."""
        found = self._opened().bodies([bytes.fromhex(key) for key in keys], not_before or 0.0)
        replies = ((key.hex(), self._decode(key.hex(), body)) for key, body in found)
        return {key: reply for key, reply in replies if reply is not None}

    def put(self, key: str, reply: Reply) -> None:
        """Store a reply, in place of an older one; returns when it is durable."""
        self.put_many({key: reply})

    def put_many(self, replies: Mapping[str, Reply]) -> None:
        """Store several together; returns when all are durable."""
        self._opened()
        now = time.time()
        rows = [
            (bytes.fromhex(key), now, reply.model, encode(reply)) for key, reply in replies.items()
        ]
        if rows:
            self._writer.put(*rows)

    def forget(self, key: str) -> None:
        """Remove a reply that was of no use, so that the question is asked again."""
        self._opened().delete(bytes.fromhex(key))

    def claim(self, key: str) -> bool:
        """Whether this process may ask the question now; False: another live process does.

        A claim ends with `release` or with its process. Within a process the caller must see to it
        that one thread at a time claims a key.
        """
        return self._opened().claim(key)

    def release(self, key: str) -> None:
        """Give a claim back; after `close` there is none."""
        if not self._writer.closed:
            self.store.release(key)

    def expire(self, older_than: float) -> int:
        """Delete replies stored before that instant; returns how many. `compact` frees their space."""
        deleted = 0
        while count := self._opened().expire(older_than, _EXPIRE_CHUNK):
            deleted += count
        return deleted

    def compact(self) -> None:
        """Give the space of deleted replies back to the disk."""
        self._opened().compact()

    def check(self) -> list[str]:
        """What is wrong with it, one sentence each; reads every reply."""
        return list(self._opened().faults())

    def statistics(self) -> dict[str, Any]:
        """Rows, bytes in all and per reply, oldest and newest, rows per model. Reads the whole journal.

        `wal_bytes` are on disk beside a file until SQLite has copied them over; they stay below 64 MB.
        """
        models = self._opened().models()
        rows = sum(row[1] for row in models)
        size, log = self.store.sizes()
        return {
            "rows": rows,
            "bytes": size,
            "wal_bytes": log,
            "bytes_per_reply": round(size / rows, 1) if rows else None,
            "oldest": min((row[2] for row in models), default=None),
            "newest": max((row[3] for row in models), default=None),
            "models": {row[0]: row[1] for row in models},
            "commits": self._writer.batches,
            "written": self._writer.rows,
        }

    def close(self) -> None:
        """Write what waits and let go of the place. Safe to call twice."""
        if self._writer.closed:
            return
        self._writer.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Journal({self._name!r})"

    def _opened(self) -> JournalStore:
        if self._writer.closed:
            msg = f"{self!r} is closed: open it again"
            raise StateError(msg)
        return self.store

    def _decode(self, key: str, body: bytes) -> Reply | None:
        try:
            return decode(body)
        except DAMAGED:
            # One bad row must not end a run: it is asked again and then overwritten.
            _LOGGER.warning(
                "journal %s: the reply under %s is damaged; asking again", self._name, key
            )
            return None
