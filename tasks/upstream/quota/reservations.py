"""
The reservations of a pool: planned, started, sent, given back, in a log for each app_id. Pure.

Every one that changed since the last flush is in `changed`; the caller writes it to the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tasks.core.quotas import AppId
from tasks.upstream.quota.key_log import ENDED, GONE, PLANNED, SENT, STARTED, KeyLog, Reservation

__all__ = ["Reservations", "SlotRequest"]


@dataclass(slots=True, eq=False)
class SlotRequest:
    """A caller's request for a slot."""

    model: str
    tokens: int = 0
    avoid: Collection[str] = ()
    urgent: bool = False
    never: Collection[str] = ()
    """Aliases that must not serve it, though they serve its model."""


class Reservations:
    """The reservations of all processes in a pool, and which of them are ours.

    Args:
        app_ids: the pool.
        owner: our id; reservations of other owners are never started by us.
        margin: seconds added to each window, for jitter on the way to the server.
        grace: seconds a start may be late and still count from its planned instant.
    """

    def __init__(
        self, app_ids: Sequence[AppId], *, owner: int, margin: float, grace: float
    ) -> None:
        self.owner = owner
        self.grace = grace
        self.dirty = set[KeyLog]()
        self.key_logs = {a.alias: KeyLog(a, margin, dirty=self.dirty) for a in app_ids}
        self.by_ticket: dict[int, Reservation] = {}
        self.changed: dict[int, Reservation] = {}
        self.mine: dict[int, SlotRequest] = {}
        """Our reservations, by ticket."""
        self.lost: list[SlotRequest] = []
        """Callers whose reservation is gone; they need another."""
        self.last_ticket = 0
        self.notes: dict[str, str] = {}
        """What the ledger remembers of endpoints, by name; replaced as a whole."""

    def learn(self, reservation: Reservation) -> None:
        """Take over a row that another process, or an earlier one, wrote."""
        key_log = self.key_logs.get(reservation.alias)
        known = self.by_ticket.pop(reservation.ticket, None)
        if known is not None:
            self.key_logs[known.alias].remove(known)
        if key_log is None:
            return
        if reservation.state == GONE:
            request = self.mine.pop(reservation.ticket, None)
            if request is not None:
                self.lost.append(request)
            key_log.touch(dirty=True)
            return
        self.by_ticket[reservation.ticket] = reservation
        key_log.add(reservation)

    def forget(self) -> None:
        """Drop all reservations, before the ledger is read from its beginning."""
        self.by_ticket.clear()
        self.changed.clear()
        for key_log in self.key_logs.values():
            key_log.clear()

    def recover(self) -> None:
        """After the ledger was read: callers whose reservation was not found need another."""
        for ticket in list(self.mine):
            reservation = self.by_ticket.get(ticket)
            if reservation is None or reservation.state != PLANNED:
                self.lost.append(self.mine.pop(ticket))

    def sent(self, ticket: int, at: float) -> None:
        """The true instant of the write. A late one moves everything that counts from it."""
        reservation = self.by_ticket.get(ticket)
        if reservation is None or reservation.state not in (STARTED, SENT, ENDED):
            return
        late = at - reservation.at > self.grace
        reservation.sent = at
        self._change(reservation, max(reservation.state, SENT), at if late else reservation.at)
        if late:
            self.key_logs[reservation.alias].touch(dirty=True)

    def end(self, ticket: int, tokens: int | None, now: float) -> None:
        """The call is over; an unconfirmed send may have happened until now."""
        reservation = self.by_ticket.get(ticket)
        if reservation is None or reservation.state not in (STARTED, SENT):
            return
        key_log = self.key_logs[reservation.alias]
        if tokens is not None and tokens != reservation.tokens:
            reservation.tokens = tokens
            key_log.touch(dirty=bool(key_log.app_id.token_windows))
        if reservation.state == STARTED:
            key_log.touch(dirty=True)
        self._change(reservation, ENDED, now if reservation.state == STARTED else reservation.at)

    def cancel(self, ticket: int) -> bool:
        """Give a slot back of which nothing was sent. False: too late, it counts."""
        reservation = self.by_ticket.get(ticket)
        if reservation is None or reservation.state not in (PLANNED, STARTED):
            return False
        key_log = self.key_logs[reservation.alias]
        self._change(reservation, GONE, reservation.at)
        key_log.touch(dirty=True)
        return True

    def count_external_use(self, alias: str, at: float) -> None:
        """Count a send that somebody outside made with our app_id."""
        self.last_ticket += 1
        reservation = Reservation(self.last_ticket, alias, 0, ENDED, at, at)
        self.by_ticket[reservation.ticket] = reservation
        self.key_logs[alias].add(reservation)
        self.key_logs[alias].touch(dirty=True)
        self.changed[reservation.ticket] = reservation

    def reap(self, owner: int, now: float) -> None:
        """An owner died: its reservations are free, its unconfirmed sends happened before now."""
        for reservation in [
            reservation for reservation in self.by_ticket.values() if reservation.owner == owner
        ]:
            if reservation.state == PLANNED:
                self.cancel(reservation.ticket)
            else:
                self.end(reservation.ticket, None, now)

    def _change(self, reservation: Reservation, state: int, at: float) -> None:
        key_log = self.key_logs[reservation.alias]
        key_log.remove(reservation)
        reservation.state, reservation.at = state, at
        key_log.add(reservation)
        self.changed[reservation.ticket] = reservation
        if state == GONE:
            self.by_ticket.pop(reservation.ticket, None)
            self.mine.pop(reservation.ticket, None)
