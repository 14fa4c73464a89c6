"""
The policy: which app_id may send, and when. Pure: no clock, no disk; `now` is always an argument.

Earliest legal instant first, over all app_ids; the least-used one only breaks ties (least-used alone
would leave nine fresh keys idle while one works off its window). A reservation is a place in a
key log's plan. Plans move when history turns out otherwise: a late start, a slot given back, a hold,
another limit. `start` is the gate: it looks at history alone, so no plan can cause a violation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from tasks.core.quotas import AppId
from tasks.upstream.quota.key_log import GONE, PLANNED, STARTED, KeyLog, Reservation
from tasks.upstream.quota.reservations import Reservations, SlotRequest

__all__ = ["Allocator"]

_SOON = 1.0  # seconds a caller may wait longer to get another app_id than the one that just failed
_GAIN = 0.01  # seconds a reservation must win by moving to another app_id


class Allocator(Reservations):
    """The order in which reservations get their instants and app_ids.

    Args:
        app_ids, owner, margin, grace: as in Reservations.
        notice: seconds after which another process has seen what we changed.
        longest_wait: seconds; an app_id that is held for longer gets no reservation.
    """

    def __init__(
        self,
        app_ids: Sequence[AppId],
        *,
        owner: int,
        margin: float,
        grace: float,
        notice: float,
        longest_wait: float = math.inf,
    ) -> None:
        super().__init__(app_ids, owner=owner, margin=margin, grace=grace)
        self.notice = notice
        self.longest_wait = longest_wait
        self._serving: dict[str, list[KeyLog]] = {}
        self._uniform = all(a.models is None and not a.token_windows for a in app_ids)

    def is_out(self, key_log: KeyLog, now: float) -> bool:
        """Whether an app_id is held for longer than anybody waits."""
        return key_log.hold - now > self.longest_wait

    def place(self, request: SlotRequest, now: float) -> Reservation | None:
        """Reserve the earliest instant for a caller; None when no instant is known now."""
        at, key_log = self._best(request, now)
        if key_log is None:
            return None
        self.last_ticket += 1
        reservation = Reservation(
            self.last_ticket, key_log.app_id.alias, self.owner, PLANNED, at, None, request.tokens
        )
        self.by_ticket[reservation.ticket] = reservation
        self.mine[reservation.ticket] = request
        key_log.add(reservation)
        self.changed[reservation.ticket] = reservation
        if request.urgent and at > now:
            self._overtake(reservation, request)
        return reservation

    def start(self, reservation: Reservation, now: float) -> bool:
        """The gate: history allows this reservation to go now. False: it was planned anew."""
        key_log = self.key_logs[reservation.alias]
        at = max(reservation.at, key_log.release(reservation.tokens))
        if at > now:
            self._put_off(key_log, reservation, now)
            return False
        late = now - at > self.grace
        self._change(reservation, STARTED, now if late else at)
        key_log.sends += 1
        self.mine.pop(reservation.ticket, None)
        if late:
            key_log.touch(dirty=True)
        return True

    # -- plans -------------------------------------------------------------------------------

    def lapse(self, now: float, patience: float) -> None:
        """Drop what others reserved and did not start: the gate would not let it start any more."""
        for key_log in self.key_logs.values():
            if not key_log.planned or key_log.planned[0].at >= now - patience:
                continue
            for reservation in [u for u in key_log.planned if u.at < now - patience]:
                if reservation.owner != self.owner:
                    self.cancel(reservation.ticket)

    def replan(self, now: float, *, everything: bool = False) -> None:
        """Let the plans follow the history again, and move ours to freer app_ids."""
        dirty = sorted(self.dirty, key=lambda key_log: key_log.app_id.alias)
        for key_log in dirty:
            self._replan_key_log(key_log, now)
        if dirty or everything:
            self._rebalance(now)

    def trim(self, now: float) -> None:
        """Forget reservations that no window can see any more."""
        for key_log in self.key_logs.values():
            for reservation in key_log.trim(now):
                self.by_ticket.pop(reservation.ticket, None)

    def due(self, now: float) -> list[Reservation]:
        """Our reservations whose instant has come, earliest first."""
        reservations = [self.by_ticket[ticket] for ticket in self.mine]
        return sorted(
            (reservation for reservation in reservations if reservation.at <= now),
            key=lambda reservation: reservation.at,
        )

    def next_due(self) -> float:
        """Instant of our next reservation; inf when there is none."""
        return min((self.by_ticket[ticket].at for ticket in self.mine), default=math.inf)

    # -- inside ------------------------------------------------------------------------------

    def _best(self, request: SlotRequest, now: float) -> tuple[float, KeyLog | None]:
        key_logs = self._serving.get(request.model)
        if key_logs is None:
            key_logs = [
                key_log
                for key_log in self.key_logs.values()
                if key_log.app_id.serves(request.model)
            ]
            self._serving[request.model] = key_logs
        if request.never:
            key_logs = [k for k in key_logs if k.app_id.alias not in request.never]
        if not request.avoid:
            return self._earliest(key_logs, request.tokens, now)
        others = [key_log for key_log in key_logs if key_log.app_id.alias not in request.avoid]
        best = self._earliest(others, request.tokens, now)
        avoided = self._earliest(set(key_logs) - set(others), request.tokens, now)
        return avoided if avoided[0] + _SOON < best[0] else best

    def _earliest(
        self, key_logs: Iterable[KeyLog], tokens: int, now: float
    ) -> tuple[float, KeyLog | None]:
        at, best, rank = math.inf, None, (0.0, 0)
        for key_log in key_logs:
            opens = key_log.known_opens
            if opens is None:
                opens = key_log.opens(tokens)
            if opens <= now:
                opens = self._gate_opens(key_log, tokens, now) if key_log.started else now
            # Almost always all are later, or many are free now: ranks are asked for only then.
            if opens > at or opens == math.inf or self.is_out(key_log, now):
                continue
            if opens < at or key_log.rank() < rank:
                at, best, rank = opens, key_log, key_log.rank()
        return at, best

    def _gate_opens(self, key_log: KeyLog, tokens: int, now: float) -> float:
        # Planned on the confirmed and the unconfirmed alike; the gate is stricter.
        release = key_log.release(tokens)
        return now + self.notice if math.isinf(release) else max(release, now)

    def _put_off(self, key_log: KeyLog, reservation: Reservation, now: float) -> None:
        self._replan_key_log(key_log, now)
        if reservation.state == PLANNED and reservation.at <= now:
            self._change(reservation, PLANNED, self._gate_opens(key_log, reservation.tokens, now))

    def _replan_key_log(self, key_log: KeyLog, now: float) -> None:
        waiting, key_log.planned = key_log.planned, []
        key_log.touch()
        self.dirty.discard(key_log)
        for reservation in waiting:
            opens = key_log.opens(reservation.tokens)
            if (math.isinf(opens) and opens > 0) or self.is_out(key_log, now):
                self._unplace(key_log, reservation)
                continue
            # Another process needs notice of an earlier instant; an overdue one stays overdue.
            soonest = now if reservation.owner == self.owner else now + self.notice
            at = max(opens, min(reservation.at, soonest))
            if abs(at - reservation.at) > 1e-6:  # noqa: PLR2004 - float noise is no reason to write
                reservation.at = at
                self.changed[reservation.ticket] = reservation
            key_log.add(reservation)

    def _unplace(self, key_log: KeyLog, reservation: Reservation) -> None:
        request = self.mine.pop(reservation.ticket, None)
        if request is None:
            key_log.add(reservation)  # another process's, which may see the key log otherwise
            return
        reservation.state = GONE
        self.by_ticket.pop(reservation.ticket, None)
        self.changed[reservation.ticket] = reservation
        self.lost.append(request)

    def _rebalance(self, now: float) -> None:
        """Last reservations first: they leave no hole behind in their plan."""
        for reservation in sorted(self._future(now), key=lambda reservation: -reservation.at):
            request, key_log = self.mine[reservation.ticket], self.key_logs[reservation.alias]
            at, better = self._best(request, now)
            if better is None or better is key_log or at > reservation.at - _GAIN:
                if self._uniform and not (request.avoid or request.never):
                    return  # those before it cannot win either
                continue
            key_log.remove(reservation)
            reservation.alias, reservation.at = better.app_id.alias, at
            better.add(reservation)
            self.changed[reservation.ticket] = reservation
            if key_log.planned and key_log.planned[-1].at > at:
                self._replan_key_log(key_log, now)

    def _future(self, now: float) -> Iterator[Reservation]:
        return (self.by_ticket[ticket] for ticket in self.mine if self.by_ticket[ticket].at > now)

    def _overtake(self, reservation: Reservation, request: SlotRequest) -> None:
        """Swap with the earliest of our own callers that can take the later slot."""
        for ticket in sorted(self.mine, key=lambda ticket: self.by_ticket[ticket].at):
            early, other = self.by_ticket[ticket], self.mine[ticket]
            if early.at >= reservation.at:
                return
            if not other.urgent and self._may_swap(reservation, request, early, other):
                self.mine[reservation.ticket], self.mine[ticket] = other, request
                reservation.tokens, early.tokens = other.tokens, request.tokens
                self.changed[ticket] = early
                return

    def _may_swap(
        self, reservation: Reservation, request: SlotRequest, early: Reservation, other: SlotRequest
    ) -> bool:
        mine, theirs = self.key_logs[reservation.alias].app_id, self.key_logs[early.alias].app_id
        counted = bool(mine.token_windows or theirs.token_windows)
        return (
            theirs.serves(request.model)
            and mine.serves(other.model)
            and early.alias not in request.avoid
            and early.alias not in request.never
            and reservation.alias not in other.never
            and (not counted or request.tokens == other.tokens)
        )
