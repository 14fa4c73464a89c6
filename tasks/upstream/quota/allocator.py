"""
The policy: which app_id may send, and when. Pure: no clock, no disk; `now` is always an argument.

Earliest legal instant first, over all lanes; the least-used lane only breaks ties (least-used alone
would leave nine fresh keys idle while one works off its window). A reservation is a place in a
lane's plan. Plans move when history turns out otherwise: a late start, a slot given back, a hold,
another limit. `start` is the gate: it looks at history alone, so no plan can cause a violation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from tasks.core.quotas import AppId
from tasks.upstream.quota.key_log import GONE, PLANNED, STARTED, Lane, Use
from tasks.upstream.quota.reservations import Book, Want

__all__ = ["Allocator"]

_SOON = 1.0  # seconds a caller may wait longer to get another app_id than the one that just failed
_GAIN = 0.01  # seconds a reservation must win by moving to another lane


class Allocator(Book):
    """The policy on top of the book.

    Args:
        app_ids, owner, margin, grace: as in Book.
        notice: seconds after which another process has seen what we changed.
    """

    def __init__(
        self, app_ids: Sequence[AppId], *, owner: int, margin: float, grace: float, notice: float
    ) -> None:
        super().__init__(app_ids, owner=owner, margin=margin, grace=grace)
        self.notice = notice
        self._serving: dict[str, list[Lane]] = {}
        self._uniform = all(a.models is None and not a.token_windows for a in app_ids)

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

    # -- plans -------------------------------------------------------------------------------

    def lapse(self, now: float, patience: float) -> None:
        """Drop what others reserved and did not start: the gate would not let it start any more."""
        for lane in self.lanes.values():
            if not lane.planned or lane.planned[0].at >= now - patience:
                continue
            for use in [u for u in lane.planned if u.at < now - patience]:
                if use.owner != self.owner:
                    self.cancel(use.ticket)

    def replan(self, now: float, *, everything: bool = False) -> None:
        """Let the plans follow the history again, and move our reservations to freer lanes."""
        dirty = sorted(self.dirty, key=lambda lane: lane.app_id.alias)
        for lane in dirty:
            self._replan_lane(lane, now)
        if dirty or everything:
            self._rebalance(now)

    def trim(self, now: float) -> None:
        """Forget uses that no window can see any more."""
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
        lanes = self._serving.get(want.model)
        if lanes is None:
            lanes = [lane for lane in self.lanes.values() if lane.app_id.serves(want.model)]
            self._serving[want.model] = lanes
        if not want.avoid:
            return self._earliest(lanes, want.tokens, now)
        others = [lane for lane in lanes if lane.app_id.alias not in want.avoid]
        best = self._earliest(others, want.tokens, now)
        avoided = self._earliest(set(lanes) - set(others), want.tokens, now)
        return avoided if avoided[0] + _SOON < best[0] else best

    def _earliest(
        self, lanes: Iterable[Lane], tokens: int, now: float
    ) -> tuple[float, Lane | None]:
        at, best, rank = math.inf, None, (0.0, 0)
        for lane in lanes:
            opens = lane.known_opens
            if opens is None:
                opens = lane.opens(tokens)
            if opens <= now:
                opens = self._gate_opens(lane, tokens, now) if lane.started else now
            # Almost always all are later, or many are free now: ranks are asked for only then.
            if opens > at or opens == math.inf:
                continue
            if opens < at or lane.rank() < rank:
                at, best, rank = opens, lane, lane.rank()
        return at, best

    def _gate_opens(self, lane: Lane, tokens: int, now: float) -> float:
        # Planned on the confirmed and the unconfirmed alike; the gate is stricter.
        release = lane.release(tokens)
        return now + self.notice if math.isinf(release) else max(release, now)

    def _put_off(self, lane: Lane, use: Use, now: float) -> None:
        self._replan_lane(lane, now)
        if use.state == PLANNED and use.at <= now:
            self._change(use, PLANNED, self._gate_opens(lane, use.tokens, now))

    def _replan_lane(self, lane: Lane, now: float) -> None:
        waiting, lane.planned = lane.planned, []
        lane.touch()
        self.dirty.discard(lane)
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
                use.tokens, early.tokens = other.tokens, want.tokens
                self.changed[ticket] = early
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
