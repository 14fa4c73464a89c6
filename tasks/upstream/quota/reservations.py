"""
The uses of a pool: what was reserved, started, sent and given back, lane by lane. Pure.

Every use that changed since the last flush is in `changed`; the caller writes it to the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tasks.core.quotas import AppId
from tasks.upstream.quota.key_log import ENDED, GONE, PLANNED, SENT, STARTED, Lane, Use

__all__ = ["Book", "Want"]


@dataclass(slots=True, eq=False)
class Want:
    """One caller that waits for a slot."""

    model: str
    tokens: int = 0
    avoid: Collection[str] = ()
    urgent: bool = False


class Book:
    """All lanes of a pool, the uses in them, and which of the reservations are ours.

    Args:
        app_ids: the pool.
        owner: our id; uses of other owners are never started by us.
        margin: seconds added to each window, for jitter on the way to the server.
        grace: seconds a start may be late and still count from its planned instant.
    """

    def __init__(
        self, app_ids: Sequence[AppId], *, owner: int, margin: float, grace: float
    ) -> None:
        self.owner = owner
        self.grace = grace
        self.dirty = set[Lane]()
        self.lanes = {a.alias: Lane(a, margin, dirty=self.dirty) for a in app_ids}
        self.uses: dict[int, Use] = {}
        self.changed: dict[int, Use] = {}
        self.mine: dict[int, Want] = {}
        """Our reservations, by ticket."""
        self.lost: list[Want] = []
        """Callers whose reservation is gone; they need another."""
        self.last_ticket = 0

    def learn(self, use: Use) -> None:
        """Take over a row that another process, or an earlier one, wrote."""
        lane = self.lanes.get(use.alias)
        known = self.uses.pop(use.ticket, None)
        if known is not None:
            self.lanes[known.alias].remove(known)
        if lane is None:
            return
        if use.state == GONE:
            want = self.mine.pop(use.ticket, None)
            if want is not None:
                self.lost.append(want)
            lane.touch(dirty=True)
            return
        self.uses[use.ticket] = use
        lane.add(use)

    def forget(self) -> None:
        """Drop all uses, before the ledger is read from its beginning."""
        self.uses.clear()
        self.changed.clear()
        for lane in self.lanes.values():
            lane.clear()

    def recover(self) -> None:
        """After that: callers whose reservation was not found need another."""
        for ticket in list(self.mine):
            use = self.uses.get(ticket)
            if use is None or use.state != PLANNED:
                self.lost.append(self.mine.pop(ticket))

    def sent(self, ticket: int, at: float) -> None:
        """The true instant of the write. A late one moves everything that counts from it."""
        use = self.uses.get(ticket)
        if use is None or use.state not in (STARTED, SENT, ENDED):
            return
        late = at - use.at > self.grace
        use.sent = at
        self._change(use, max(use.state, SENT), at if late else use.at)
        if late:
            self.lanes[use.alias].touch(dirty=True)

    def end(self, ticket: int, tokens: int | None, now: float) -> None:
        """The call is over; an unconfirmed send may have happened until now."""
        use = self.uses.get(ticket)
        if use is None or use.state not in (STARTED, SENT):
            return
        lane = self.lanes[use.alias]
        if tokens is not None and tokens != use.tokens:
            use.tokens = tokens
            lane.touch(dirty=bool(lane.app_id.token_windows))
        if use.state == STARTED:
            lane.touch(dirty=True)
        self._change(use, ENDED, now if use.state == STARTED else use.at)

    def cancel(self, ticket: int) -> bool:
        """Give a slot back of which nothing was sent. False: too late, it counts."""
        use = self.uses.get(ticket)
        if use is None or use.state not in (PLANNED, STARTED):
            return False
        lane = self.lanes[use.alias]
        self._change(use, GONE, use.at)
        lane.touch(dirty=True)
        return True

    def phantom(self, alias: str, at: float) -> None:
        """Count a use that somebody else made with our app_id."""
        self.last_ticket += 1
        use = Use(self.last_ticket, alias, 0, ENDED, at, at)
        self.uses[use.ticket] = use
        self.lanes[alias].add(use)
        self.lanes[alias].touch(dirty=True)
        self.changed[use.ticket] = use

    def bury(self, owner: int, now: float) -> None:
        """An owner died: its reservations are free, its unconfirmed sends happened before now."""
        for use in [use for use in self.uses.values() if use.owner == owner]:
            if use.state == PLANNED:
                self.cancel(use.ticket)
            else:
                self.end(use.ticket, None, now)

    def _change(self, use: Use, state: int, at: float) -> None:
        lane = self.lanes[use.alias]
        lane.remove(use)
        use.state, use.at = state, at
        lane.add(use)
        self.changed[use.ticket] = use
        if state == GONE:
            self.uses.pop(use.ticket, None)
            self.mine.pop(use.ticket, None)
