"""
The ledger: what was reserved and sent, in one SQLite file that all processes of a machine share.

One transaction at a time, flock first: SQLite's own waiting backs off by sleeping, which is slow
and unfair, and flock ends with its holder. Each transaction begins by learning what others wrote
since the last one (rows carry a revision), so the allocator in memory is exact while it decides.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tasks.core.errors import StateError
from tasks.upstream.quota import clock
from tasks.upstream.quota.allocator import Allocator
from tasks.upstream.quota.lane import GONE, SENT, STARTED, Control, Use
from tasks.upstream.quota.locks import FileLock, OwnerFile
from tasks.upstream.quota.schema import open_ledger
from tasks.upstream.quota.tally import Counts
from tasks.upstream.quota.upkeep import run_is_alive

__all__ = ["Ledger"]

_PUT = (
    "INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (ticket) DO UPDATE SET "
    "rev = excluded.rev, alias = excluded.alias, state = excluded.state, at = excluded.at, "
    "sent = excluded.sent, tokens = excluded.tokens"
)
_USES = "SELECT ticket, alias, owner, state, at, sent, tokens FROM uses "


_INHERITED: list[sqlite3.Connection | None] = []
"""Connections of a parent process: SQLite forbids even closing them in a child."""


class Ledger:
    """One process's connection to the ledger file.

    Raises:
        StateError: the file, its folder or its disk cannot be used.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.path = path
        self.run = run
        self.owner = 0
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        self.folder = path.with_name(path.name + ".owners")
        self._rev = self._controls = -1
        self._inode = (0, 0)
        self._db: sqlite3.Connection | None = None
        self._life = self._begin_life()
        try:
            with self._lock:
                self._open()
        except BaseException:
            self._life.close()
            raise

    @contextmanager
    def transaction(self, allocator: Allocator) -> Iterator[sqlite3.Connection]:
        """Exclusive access, with `allocator` up to date; its changes are written at the end.

        Raises:
            sqlite3.Error, OSError: nothing was written; `allocator` must be loaded anew.
        """
        with self._lock:
            if not self._is_same_file():
                self._reopen(allocator)
            db = self._connection
            db.execute("BEGIN IMMEDIATE")
            try:
                self._learn(db, allocator)
                yield db
                self._write(db, allocator)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                self._rev = self._controls = -1  # forces a full load
                raise

    def changed(self) -> bool:
        """Whether others wrote since the last transaction; takes no lock."""
        if not self._is_same_file():
            return True
        rev, controls = self._connection.execute("SELECT rev, controls FROM meta").fetchone()
        return (rev, controls) != (self._rev, self._controls)

    def hold(self, db: sqlite3.Connection, alias: str, until: float) -> None:
        """No send on an app_id before `until`; for every run."""
        epoch = until - clock.now() + time.time()
        db.execute(
            "UPDATE lanes SET hold = ?, hold_epoch = ? WHERE alias = ?", (until, epoch, alias)
        )
        self._bump(db)

    def control(self, db: sqlite3.Connection, alias: str, control: Control) -> None:
        """Write what was said about an app_id, for every process of this run."""
        db.execute(
            "INSERT OR REPLACE INTO controls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self.run, alias, control.limit, control.told, control.occupied, control.reason),
                *(control.paused, control.margin, control.highest),
            ),
        )
        self._bump(db)

    def count(self, db: sqlite3.Connection, counts: Mapping[str, Counts]) -> None:
        """Add to this run's counters."""
        rows = [
            (self.run, alias, c.sends, c.refunds, c.forfeits, c.rate_limited, c.waited)
            for alias, c in counts.items()
        ]
        db.executemany(
            "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, alias) DO UPDATE "
            "SET sends = sends + excluded.sends, refunds = refunds + excluded.refunds, "
            "forfeits = forfeits + excluded.forfeits, waited = waited + excluded.waited, "
            "rate_limited = rate_limited + excluded.rate_limited",
            rows,
        )

    def stay(self, db: sqlite3.Connection) -> None:
        """Be alive again, should somebody have removed our owner file."""
        if not self._life.exists():
            self._life.close()
            self._life = OwnerFile(self.folder)
            db.execute(
                "UPDATE owners SET name = ?, alive = 1 WHERE id = ?", (self._life.name, self.owner)
            )

    def close(self) -> None:
        """Leave; reservations of this process become free for others."""
        self._life.close()
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None
        self._lock.close()

    def abandon(self) -> None:
        """In a forked child: drop what belongs to the parent."""
        self._life.close(remove=False)
        self._lock.close()
        _INHERITED.append(self._db)
        self._db = None

    # -- inside ------------------------------------------------------------------------------

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            msg = f"{self.path}: the quota was closed; make a new one"
            raise StateError(msg)
        return self._db

    def _begin_life(self) -> OwnerFile:
        try:
            return OwnerFile(self.folder)
        except OSError as error:
            msg = f"{self.folder} cannot be written ({error.strerror}): make it writable"
            raise StateError(msg) from error

    def _open(self) -> None:
        self._db = db = open_ledger(self.path, self._lock)
        stat = self.path.stat()
        self._inode = (stat.st_dev, stat.st_ino)
        self._rev = self._controls = -1
        if not run_is_alive(db, self.folder, self.run):
            # A run that is started again judges its app_ids afresh.
            db.execute(
                "UPDATE controls SET quota = NULL, told = NULL, occupied = 0, reason = NULL, "
                "paused = 0 WHERE run = ?",
                (self.run,),
            )
        self.owner = self._register(db)

    def _register(self, db: sqlite3.Connection) -> int:
        cursor = db.execute(
            "INSERT INTO owners (name, run, pid, opened, alive) VALUES (?, ?, ?, ?, 1)",
            (self._life.name, self.run, os.getpid(), time.time()),
        )
        return int(cursor.lastrowid or 0)

    def _is_same_file(self) -> bool:
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return False
        return self._inode == (stat.st_dev, stat.st_ino)

    def _reopen(self, allocator: Allocator) -> None:
        """The file was removed or replaced under us: carry over what only we know."""
        started = [u for u in allocator.uses.values() if u.owner == self.owner]
        if self._db is not None:
            self._db.close()
        self._open()
        allocator.owner = self.owner
        for use in started:
            if use.state in (STARTED, SENT):
                use.owner = self.owner
                allocator.changed[use.ticket] = use
        db = self._connection
        db.execute("BEGIN IMMEDIATE")
        # Whoever made the new file may not know that there was another.
        db.execute("UPDATE meta SET floor = ?, controls = controls + 1", (clock.now(),))
        self._put(db, allocator, 2)
        db.execute("COMMIT")
        allocator.changed.clear()

    def _learn(self, db: sqlite3.Connection, allocator: Allocator) -> None:
        rev, controls, ticket, floor = db.execute(
            "SELECT rev, controls, ticket, floor FROM meta"
        ).fetchone()
        if self._rev < 0:
            self._load(db, allocator)
        elif rev != self._rev:
            for row in db.execute(_USES + "WHERE rev > ? ORDER BY rev", (self._rev,)):
                allocator.learn(Use(*row))
        if controls != self._controls:
            self._learn_controls(db, allocator, -math.inf if floor is None else floor)
        allocator.last_ticket = ticket
        self._rev, self._controls = rev, controls

    def _load(self, db: sqlite3.Connection, allocator: Allocator) -> None:
        for lane in allocator.lanes.values():
            db.execute(
                "INSERT INTO lanes VALUES (?, -1e18, -1e18, ?, NULL) ON CONFLICT (alias) DO UPDATE "
                "SET keep = max(keep, excluded.keep)",
                (lane.app_id.alias, 2 * lane.reach),
            )
        self._controls = -1
        allocator.forget()
        reach = max((lane.reach for lane in allocator.lanes.values()), default=0.0)
        edge = clock.now() - 2 * reach
        for row in db.execute(
            _USES + "WHERE state < ? AND (at > ? OR state <= ?)", (GONE, edge, SENT)
        ):
            allocator.learn(Use(*row))
        allocator.recover()

    def _learn_controls(self, db: sqlite3.Connection, allocator: Allocator, floor: float) -> None:
        said = {
            row[0]: Control(*row[1:])
            for row in db.execute(
                "SELECT alias, quota, told, occupied, reason, paused, margin, highest "
                "FROM controls WHERE run = ?",
                (self.run,),
            )
        }
        for alias, hold, pruned in db.execute("SELECT alias, hold, pruned FROM lanes"):
            if alias in allocator.lanes:
                lane = allocator.lanes[alias]
                lane.hold, lane.floor = hold, max(floor, -math.inf if pruned is None else pruned)
                control = said.get(alias, lane.control)
                if control.margin > lane.control.margin:
                    lane.margin_since = clock.now()
                lane.control = control
                lane.rebuild()

    def _write(self, db: sqlite3.Connection, allocator: Allocator) -> None:
        if allocator.changed:
            self._rev += 1
            self._put(db, allocator, self._rev)
            allocator.changed.clear()

    def _put(self, db: sqlite3.Connection, allocator: Allocator, rev: int) -> None:
        rows = [
            (u.ticket, rev, u.alias, u.owner, u.state, u.at, u.sent, u.tokens)
            for u in allocator.changed.values()
        ]
        db.executemany(_PUT, rows)
        db.execute("UPDATE meta SET rev = ?, ticket = max(ticket, ?)", (rev, allocator.last_ticket))

    def _bump(self, db: sqlite3.Connection) -> None:
        self._controls += 1
        db.execute("UPDATE meta SET controls = ?", (self._controls,))
