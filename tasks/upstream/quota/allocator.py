"""
The policy: which app_id may send, and when. Pure: no clock, no disk; `now` is always an argument.

Earliest legal instant first, over all lanes; the least-used lane only breaks ties (least-used alone
would leave nine fresh keys idle while one works off its window). A reservation is a place in a
lane's plan. Plans move when history turns out otherwise: a late start, a slot given back, a hold,
another limit. `start` is the gate: it looks at history alone, so no plan can cause a violation.

Every use that changed since the last flush is in `changed`; the caller writes it to the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tasks.core.quotas import AppId
from tasks.upstream.quota.lane import ENDED, GONE, PLANNED, SENT, STARTED, Lane, Use

__all__ = ["Allocator", "Want"]

_SOON = 1.0  # seconds a caller may wait longer to get another app_id than the one that just failed
_GAIN = 0.01  # seconds a reservation must win by moving to another lane


@dataclass(slots=True, eq=False)
class Want:
    """One caller that waits for a slot."""

    model: str
    tokens: int = 0
    avoid: Collection[str] = ()
    urgent: bool = False


class Allocator:
    """All lanes of a pool, the uses in them, and which of the reservations are ours.

    Args:
        app_ids: the pool.
        owner: our id; uses of other owners are never started by us.
        margin: seconds added to each window, for jitter on the way to the server.
        grace: seconds a start may be late and still count from its planned instant.
        notice: seconds after which another process has seen what we changed.
    """

    def __init__(
        self, app_ids: Sequence[AppId], *, owner: int, margin: float, grace: float, notice: float
    ) -> None:
        self.owner = owner
        self.grace = grace
        self.notice = notice
        self.lanes = {app_id.alias: Lane(app_id, margin) for app_id in app_ids}
        self.uses: dict[int, Use] = {}
        self.changed: dict[int, Use] = {}
        self.mine: dict[int, Want] = {}
        """Our reservations, by ticket."""
        self.lost: list[Want] = []
        """Callers whose reservation is gone; they need another."""
        self.last_ticket = 0
        self._uniform = all(a.models is None and not a.token_windows for a in app_ids)

    # -- what others did ---------------------------------------------------------------------

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

    # -- the life of a grant -----------------------------------------------------------------

    def place(self, want: Want, now: float) -> Use | None:
        """Reserve the earliest instant for a caller; None when no instant is known now."""
        at, lane = self._best(want, now)
        if lane is None:
            return None
        self.last_ticket += 1
        use = Use(self.last_ticket, lane.app_id.alias, self.owner, PLANNED, at, None, want.tokens)
        self.uses[use.ticket] = use
        self.mine[use.ticket] = want
        lane.add(use)
        self.changed[use.ticket] = use
        if want.urgent and at > now:
            self._overtake(use, want)
        return use

    def start(self, use: Use, now: float) -> bool:
        """The gate: history allows this reservation to go now. False: it was planned anew."""
        lane = self.lanes[use.alias]
        at = max(use.at, lane.release(use.tokens))
        if at > now:
            self._put_off(lane, use, now)
            return False
        late = now - at > self.grace
        self._change(use, STARTED, now if late else at)
        lane.sends += 1
        self.mine.pop(use.ticket, None)
        if late:
            lane.touch(dirty=True)
        return True

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

    # -- plans -------------------------------------------------------------------------------

    def lapse(self, now: float, patience: float) -> None:
        """Drop what others reserved and did not start: the gate would not let it start any more."""
        for lane in self.lanes.values():
            if not lane.planned or lane.planned[0].at >= now - patience:
                continue
            for use in [u for u in lane.planned if u.at < now - patience]:
                if use.owner != self.owner:
                    self.cancel(use.ticket)

    def bury(self, owner: int, now: float) -> None:
        """An owner died: its reservations are free, its unconfirmed sends happened before now."""
        for use in [use for use in self.uses.values() if use.owner == owner]:
            if use.state == PLANNED:
                self.cancel(use.ticket)
            else:
                self.end(use.ticket, None, now)

    def replan(self, now: float, *, everything: bool = False) -> None:
        """Let the plans follow the history again, and move our reservations to freer lanes."""
        dirty = [lane for lane in self.lanes.values() if lane.dirty]
        for lane in dirty:
            self._replan_lane(lane, now)
        if dirty or everything:
            self._rebalance(now)
        for lane in self.lanes.values():
            for use in lane.trim(now):
                self.uses.pop(use.ticket, None)

    def due(self, now: float) -> list[Use]:
        """Our reservations whose instant has come, earliest first."""
        uses = [self.uses[ticket] for ticket in self.mine]
        return sorted((use for use in uses if use.at <= now), key=lambda use: use.at)

    def next_due(self) -> float:
        """Instant of our next reservation; inf when there is none."""
        return min((self.uses[ticket].at for ticket in self.mine), default=math.inf)

    # -- inside ------------------------------------------------------------------------------

    def _best(self, want: Want, now: float) -> tuple[float, Lane | None]:
        best = self._earliest((n for n in self.lanes if n not in want.avoid), want, now)
        if not want.avoid:
            return best
        avoided = self._earliest((n for n in self.lanes if n in want.avoid), want, now)
        return avoided if avoided[0] + _SOON < best[0] else best

    def _earliest(
        self, aliases: Iterable[str], want: Want, now: float
    ) -> tuple[float, Lane | None]:
        at, tied = math.inf, list[Lane]()
        for alias in aliases:
            lane = self.lanes[alias]
            if not lane.app_id.serves(want.model):
                continue
            opens = max(now, lane.opens(want.tokens))
            if opens <= now and lane.started:
                # Planned on the confirmed and the unconfirmed alike; the gate is stricter.
                release = lane.release(want.tokens)
                opens = opens if release <= now else min(release, now + self.notice)
            if opens < at:
                at, tied = opens, [lane]
            elif opens == at < math.inf:
                tied.append(lane)
        if len(tied) > 1:
            return at, min(tied, key=lambda lane: (lane.share(now), lane.sends))
        return at, tied[0] if tied else None

    def _change(self, use: Use, state: int, at: float) -> None:
        lane = self.lanes[use.alias]
        lane.remove(use)
        use.state, use.at = state, at
        lane.add(use)
        self.changed[use.ticket] = use
        if state == GONE:
            self.uses.pop(use.ticket, None)
            self.mine.pop(use.ticket, None)

    def _put_off(self, lane: Lane, use: Use, now: float) -> None:
        self._replan_lane(lane, now)
        if use.state == PLANNED and use.at <= now:
            self._change(use, PLANNED, min(max(lane.release(use.tokens), now), now + self.notice))

    def _replan_lane(self, lane: Lane, now: float) -> None:
        waiting, lane.planned = lane.planned, []
        lane.touch()
        lane.dirty = False
        for use in waiting:
            opens = lane.opens(use.tokens)
            if math.isinf(opens) and opens > 0:
                self._unplace(lane, use)
                continue
            # Another process needs notice of an earlier instant; an overdue one stays overdue.
            soonest = now if use.owner == self.owner else now + self.notice
            at = max(opens, min(use.at, soonest))
            if abs(at - use.at) > 1e-6:  # noqa: PLR2004 - float noise is no reason to write
                use.at = at
                self.changed[use.ticket] = use
            lane.add(use)

    def _unplace(self, lane: Lane, use: Use) -> None:
        want = self.mine.pop(use.ticket, None)
        if want is None:
            lane.add(use)  # somebody else's: its owner may see the lane otherwise
            return
        use.state = GONE
        self.uses.pop(use.ticket, None)
        self.changed[use.ticket] = use
        self.lost.append(want)

    def _rebalance(self, now: float) -> None:
        """Last reservations first: they leave no hole behind in their lane."""
        for use in sorted(self._future(now), key=lambda use: -use.at):
            want, lane = self.mine[use.ticket], self.lanes[use.alias]
            at, better = self._best(want, now)
            if better is None or better is lane or at > use.at - _GAIN:
                if self._uniform and not want.avoid:
                    return  # those before it cannot win either
                continue
            lane.remove(use)
            use.alias, use.at = better.app_id.alias, at
            better.add(use)
            self.changed[use.ticket] = use
            if lane.planned and lane.planned[-1].at > at:
                self._replan_lane(lane, now)

    def _future(self, now: float) -> Iterator[Use]:
        return (self.uses[ticket] for ticket in self.mine if self.uses[ticket].at > now)

    def _overtake(self, use: Use, want: Want) -> None:
        """Swap with the earliest of our own callers that can take the later slot."""
        for ticket in sorted(self.mine, key=lambda ticket: self.uses[ticket].at):
            early, other = self.uses[ticket], self.mine[ticket]
            if early.at >= use.at:
                return
            if not other.urgent and self._may_swap(use, want, early, other):
                self.mine[use.ticket], self.mine[ticket] = other, want
                return

    def _may_swap(self, use: Use, want: Want, early: Use, other: Want) -> bool:
        mine, theirs = self.lanes[use.alias].app_id, self.lanes[early.alias].app_id
        counted = bool(mine.token_windows or theirs.token_windows)
        return (
            theirs.serves(want.model)
            and mine.serves(other.model)
            and early.alias not in want.avoid
            and (not counted or want.tokens == other.tokens)
        )
