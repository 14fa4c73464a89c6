"""
The ledger: what was reserved and sent, by all processes that share a store.

Each transaction begins by learning what others wrote since the last one (rows carry a revision),
so the allocator in memory is exact while it decides. Instants in memory are this machine's
monotonic seconds; the store says how far from them those of the rows are.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.upstream.quota import clock, statements
from tasks.upstream.quota.allocator import Allocator
from tasks.upstream.quota.counters import KeyCounters
from tasks.upstream.quota.key_log import GONE, SENT, STARTED, Control, Reservation
from tasks.upstream.quota.open_store import open_store
from tasks.upstream.quota.spending import SPENDING_TABLES
from tasks.upstream.quota.store import Db, Meta

__all__ = ["Ledger", "hold_note"]

_UNHELD, _ENDED = -1e18, -1e17
"""A hold that was never set, and one that was ended by hand, in the rows."""
_SHORT = 60.0  # seconds


def hold_note(alias: str) -> str:
    """The name of the note that has a provider's words at its last hold of an app_id."""
    return f"hold {alias}"


class Ledger:
    """One process's part in the ledger.

    Args:
        place: file, or URL of the database.
        run: id of the run this process belongs to.
        hurry: whether nobody wants to wait for a database that is gone.

    Raises:
        StateError: the store cannot be used.
    """

    def __init__(
        self, place: Path | str, run: str, hurry: Callable[[], bool] = lambda: False
    ) -> None:
        self.run = run
        self.owner = 0
        self._rev = self._controls = -1
        self._latest = 0
        """Highest revision ever seen: a store that has less is another one, or an older copy."""
        self._joined = 0
        self._sessions = set[str]()
        """Names that we had; the last one is in force."""
        self._redo = self._mended = False
        self._unsent = set[int]()
        """Started in transactions that failed, perhaps only at their end: nothing was sent."""
        self._missing: dict[int, float] = {}
        self._store = open_store(place, hurry)
        try:
            with self._store.exclusive() as db:
                self._join(db, self._store.read_meta(db))
        except BaseException:
            self._store.close()
            raise

    @contextmanager
    def transaction(self, allocator: Allocator) -> Iterator[Db]:
        """Exclusive access, with `allocator` up to date; its changes are written at the end.

        Raises:
            sqlite3.Error, OSError, StateError: nobody may be told of a slot that it handed out,
                whatever became of it; the next one loads everything anew.
        """
        try:
            with self._store.exclusive() as db:
                self._begin(db, allocator)
                yield db
                self._write(db, allocator)
        except BaseException:
            self._rev = self._controls = -1  # forces a full load
            self._joined = -1 if self._redo else self._joined
            self._store.stepped |= self._mended
            self._unsent.update(u.ticket for u in allocator.changed.values() if u.state == STARTED)
            raise
        allocator.changed.clear()
        self._unsent.clear()
        self._redo = self._mended = False
        self._latest = self._rev

    def changed(self) -> bool:
        """Whether others wrote since the last transaction; takes no lock."""
        meta = self._store.peek()
        return meta is None or meta[:2] != (self._rev, self._controls)

    def hold(self, db: Db, alias: str, until: float, said: str) -> None:
        """No send on an app_id before `until`; for every run, with the provider's words.

        Those of a moment's hold are not stored: a key under load meets many.
        """
        if until - clock.now() > _SHORT:
            db.execute(statements.NOTE, (hold_note(alias), said))
        epoch = until - clock.now() + time.time()
        db.execute(statements.HOLD, (until + self._store.ahead, epoch, alias))
        self._bump(db)

    def end_hold(self, db: Db, alias: str) -> None:
        """An app_id may send at once; for every run."""
        db.execute(statements.HOLD, (_ENDED, _ENDED, alias))
        self._bump(db)

    def note(self, db: Db, name: str, value: str) -> None:
        """Remember a text under a name, for every run."""
        db.execute(statements.NOTE, (name, value))
        self._bump(db)

    def control(self, db: Db, alias: str, control: Control) -> None:
        """Write an app_id's control, for every process of this run."""
        db.execute(
            statements.CONTROL,
            (
                self.run,
                alias,
                control.limit,
                control.server_limit,
                control.external_slots,
                control.reason,
                int(control.paused),
                control.margin,
                control.highest,
            ),
        )
        self._bump(db)

    def count(self, db: Db, counters: Mapping[str, KeyCounters]) -> None:
        """Add to this run's counters."""
        db.executemany(
            statements.COUNT,
            [(self.run, alias, c.sends, c.rate_limited, c.waited) for alias, c in counters.items()],
        )

    def stay(self, db: Db) -> None:
        """Be alive again, should others have lost sight of us."""
        if self._store.revive():
            self._name(db)

    def dead(self, db: Db, now: float) -> list[int]:
        """Owners that ended since somebody looked."""
        rows = db.execute("SELECT id, name FROM owners WHERE alive = 1 AND id != ?", (self.owner,))
        owners: dict[int, str] = dict(rows.fetchall())
        living = self._store.living(db, list(owners.values())) if owners else ()
        missing = [owner for owner, name in owners.items() if name not in living]
        self._missing = {owner: self._missing.get(owner, now) for owner in missing}
        return [o for o, since in self._missing.items() if now - since >= self._store.patience]

    def open_reservations(self, db: Db, owner: int) -> list[Reservation]:
        """What the store knows of an owner's reservations and calls under way."""
        return self._reservations(
            db.execute(statements.RESERVATIONS + "WHERE owner = ? AND state < 3", (owner,))
        )

    def row_time(self, instant: float) -> float:
        """An instant of ours on the rows' clock."""
        return instant + self._store.ahead

    def epoch(self) -> float:
        """Now, in the seconds of `owners.opened`."""
        return self._store.epoch()

    def close(self) -> None:
        """Leave; reservations of this process become free for others."""
        self._store.close()

    # -- joining -----------------------------------------------------------------------------

    def _begin(self, db: Db, allocator: Allocator) -> None:
        meta = self._store.read_meta(db)
        if self._joined != self._store.opened:
            self._rejoin(db, meta, allocator)
            meta = self._store.read_meta(db)
        if self._store.stepped:
            self._mend(db)
            meta = self._store.read_meta(db)
        self._learn(db, meta, allocator)

    def _join(self, db: Db, meta: Meta) -> bool:
        """Be an owner of this store; False: it knows nothing of us."""
        self._joined = self._store.opened
        self._rev = self._controls = -1
        for table in (statements.NOTES, *SPENDING_TABLES):  # ledgers from before have none
            db.execute(table)
        row = db.execute("SELECT name FROM owners WHERE id = ?", (self.owner,)).fetchone()
        if row is not None and row[0] in self._sessions:
            self._name(db)
            return meta[0] >= self._latest
        if not self._run_is_alive(db):
            # A run that is started again judges its app_ids afresh.
            db.execute(statements.FORGIVE, (self.run,))
        self.owner = self._register(db)
        return False

    def _name(self, db: Db) -> None:
        session = self._store.session
        self._sessions.add(session)
        db.execute("UPDATE owners SET name = ?, alive = 1 WHERE id = ?", (session, self.owner))

    def _run_is_alive(self, db: Db) -> bool:
        rows = db.execute("SELECT name FROM owners WHERE run = ? AND alive = 1", (self.run,))
        names = [name for (name,) in rows.fetchall()]
        return bool(names and self._store.living(db, names))

    def _register(self, db: Db) -> int:
        session = self._store.session
        self._sessions.add(session)
        rows = db.execute(
            "INSERT INTO owners (name, run, pid, opened, alive) VALUES (?, ?, ?, ?, 1) "
            "RETURNING id",
            (session, self.run, os.getpid(), self._store.epoch()),
        )
        return int(rows.fetchall()[0][0])

    def _rejoin(self, db: Db, meta: Meta, allocator: Allocator) -> None:
        """The store was replaced, or others may have taken us for dead: carry over what we know."""
        ours = [
            reservation
            for reservation in allocator.by_ticket.values()
            if reservation.owner == allocator.owner and reservation.ticket not in self._unsent
        ]
        self._redo = True  # until this transaction is over
        if not self._join(db, meta):
            # Whoever made the new store may not know that there was another.
            self._raise_floor(db)
        allocator.owner = self.owner
        started = [reservation for reservation in ours if reservation.state in (STARTED, SENT)]
        for reservation in started:
            reservation.owner = self.owner
        self._put(db, started, meta[0] + 1, allocator.last_ticket)

    def _mend(self, db: Db) -> None:
        """The rows' clock was set: what happened before cannot be placed, so it counts as full."""
        now = self.row_time(clock.now())
        db.execute("UPDATE uses SET at = ? WHERE at > ?", (now, now))
        db.execute("UPDATE lanes SET pruned = NULL WHERE pruned > ?", (now,))
        self._raise_floor(db)
        self._rev = self._controls = -1
        self._store.stepped, self._mended = False, True

    def _raise_floor(self, db: Db) -> None:
        floor = self.row_time(clock.now())
        db.execute("UPDATE meta SET floor = ?, controls = controls + 1", (floor,))

    # -- learning and writing ----------------------------------------------------------------

    def _learn(self, db: Db, meta: Meta, allocator: Allocator) -> None:
        rev, controls, last_ticket, floor = meta
        if self._rev < 0:
            self._load(db, allocator)
        elif rev != self._rev:
            for reservation in self._reservations(
                db.execute(statements.RESERVATIONS + "WHERE rev > ? ORDER BY rev", (self._rev,))
            ):
                allocator.learn(reservation)
        if controls != self._controls:
            self._learn_controls(db, allocator, self._instant(floor))
        allocator.last_ticket = last_ticket
        self._rev, self._controls = rev, controls
        for ticket in self._unsent:
            found = allocator.by_ticket.get(ticket)
            if found is not None and found.owner == self.owner and found.state == STARTED:
                allocator.cancel(ticket)

    def _reservations(self, rows: Iterable[Sequence[Any]]) -> list[Reservation]:
        behind = self._store.behind
        reservations = [Reservation(*row) for row in rows]
        if behind:
            for reservation in reservations:
                reservation.at -= behind
                if reservation.sent is not None:
                    reservation.sent -= behind
        return reservations

    def _instant(self, written: float | None) -> float:
        return -math.inf if written is None else written - self._store.behind

    def _load(self, db: Db, allocator: Allocator) -> None:
        for key_log in allocator.key_logs.values():
            db.execute(statements.KEY_LOG, (key_log.app_id.alias, 2 * key_log.reach))
        self._controls = -1
        allocator.forget()
        reach = max((key_log.reach for key_log in allocator.key_logs.values()), default=0.0)
        edge = clock.now() + self._store.behind - 2 * reach
        rows = db.execute(
            statements.RESERVATIONS + "WHERE state < ? AND (at > ? OR state <= ?)",
            (GONE, edge, SENT),
        )
        for reservation in self._reservations(rows):
            allocator.learn(reservation)
        allocator.recover()

    def _learn_controls(self, db: Db, allocator: Allocator, floor: float) -> None:
        allocator.notes = dict(db.execute("SELECT name, value FROM notes").fetchall())
        rows = db.execute(
            "SELECT alias, quota, told, occupied, reason, paused, margin, highest "
            "FROM controls WHERE run = ?",
            (self.run,),
        )
        said = {row[0]: Control(*row[1:]) for row in rows}
        for alias, hold, pruned in db.execute("SELECT alias, hold, pruned FROM lanes"):
            if alias in allocator.key_logs:
                key_log = allocator.key_logs[alias]
                # Holds grow until they are ended; one of ours outlives a store that was replaced.
                if hold != _UNHELD:
                    key_log.hold = self._instant(hold)
                    words = allocator.notes.get(hold_note(alias))
                    key_log.hold_reason = words or key_log.hold_reason
                key_log.floor = max(floor, self._instant(pruned))
                control = said.get(alias, key_log.control)
                if control.margin > key_log.control.margin:
                    key_log.margin_since = clock.now()
                key_log.control = control
                key_log.rebuild()

    def _write(self, db: Db, allocator: Allocator) -> None:
        if allocator.changed:
            self._rev += 1
            self._put(db, allocator.changed.values(), self._rev, allocator.last_ticket)

    def _put(self, db: Db, reservations: Iterable[Reservation], rev: int, ticket: int) -> None:
        ahead = self._store.ahead
        rows = [
            (
                *(u.ticket, rev, u.alias, u.owner, u.state, u.at + ahead),
                *(u.sent if u.sent is None else u.sent + ahead, u.tokens),
            )
            for u in reservations
        ]
        db.executemany(statements.PUT, rows)
        db.execute(
            "UPDATE meta SET rev = ?, ticket = CASE WHEN ticket < ? THEN ? ELSE ticket END",
            (rev, ticket, ticket),
        )

    def _bump(self, db: Db) -> None:
        self._controls += 1
        db.execute("UPDATE meta SET controls = ?", (self._controls,))
