"""
The log of one app_id's sends, and the plan of its next ones.

    past        confirmed sends, by instant        ┐ history: what the server can have counted
    started     cleared to send, not yet confirmed ┘
    planned     reservations of future instants      a plan, free to move

Two questions are asked of a key log. `release`: may one more go, by history alone? It is the gate,
and the only thing exactness rests on. `opens`: from when could one more go behind everything that
is planned? It is the plan, and a wrong answer costs time, never a violation.

A rule allows `limit` in any `span` = window + margin: a window's worth of arrivals at the server
comes from sends at most `margin` further apart, for delays that differ by at most `margin`.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.core.quotas import AppId

__all__ = [
    "ENDED",
    "GONE",
    "PLANNED",
    "SENT",
    "STARTED",
    "Control",
    "KeyLog",
    "Reservation",
    "WindowLimit",
]

PLANNED, STARTED, SENT, ENDED, GONE = range(5)

_STALE = 64  # confirmed sends that may be out of every window before they are trimmed


@dataclass(slots=True, eq=False)
class Reservation:
    """One slot of an app_id, from its plan to the end of its call: a row of the ledger."""

    ticket: int
    alias: str
    owner: int
    """The process that holds it; 0: external use, by somebody unknown."""
    state: int
    at: float
    """The instant that windows are counted from."""
    sent: float | None = None
    """The true instant of the write."""
    tokens: int = 0


@dataclass(slots=True)
class Control:
    """An app_id's settings since the run began, as changed by operators and by the server."""

    limit: int | None = None
    """The operators' number for the first window; None: as configured."""
    server_limit: int | None = None
    """The server's own number, where it is lower than ours."""
    external_slots: int = 0
    """Slots of the first window that others than this system hold."""
    reason: str | None = None
    """Why it is out of rotation; None: it is in."""
    paused: bool = False
    """Out, but expected back: callers wait instead of failing."""
    margin: float = 0.0
    """Seconds; raised by a 429 that our log cannot explain."""
    highest: int = 0
    """Highest limit of the first window that was ever in force."""


@dataclass(frozen=True, slots=True)
class WindowLimit:
    """At most `limit` requests, or tokens, in any `span` seconds."""

    limit: int
    span: float
    tokens: bool = False


def _at(reservation: Reservation) -> float:
    return reservation.at


def _insert(reservations: list[Reservation], reservation: Reservation) -> None:
    if not reservations or reservations[-1].at <= reservation.at:
        reservations.append(reservation)
    else:
        insort(reservations, reservation, key=_at)


def _blocker(
    rule: WindowLimit, tokens: int, groups: Sequence[list[Reservation]]
) -> Reservation | None:
    """The reservation that must leave the span first. Groups are given latest first."""
    if rule.tokens:
        # A request larger than the whole quota goes alone; the server decides about it.
        room = rule.limit - min(tokens, rule.limit)
        for group in groups:
            for reservation in reversed(group):
                room -= reservation.tokens
                if room < 0:
                    return reservation
        return None
    nth = rule.limit
    for group in groups:
        if nth <= len(group):
            return group[-nth]
        nth -= len(group)
    return None


@dataclass(slots=True, eq=False)
class KeyLog:
    """State of one app_id, as far as its windows reach back. `margin` and `hold` in seconds."""

    app_id: AppId
    margin: float
    control: Control = field(default_factory=Control)
    hold: float = -math.inf
    """No send before this instant: the server said so."""
    hold_reason: str = ""
    """In the provider's words, as far as this process has heard them."""
    held_at: float = -math.inf
    """When this process last set a hold for a refusal without a wait."""
    refused_since: float | None = None
    """Since when this process has met nothing but 429s on it; None: the last call went well."""
    refusals: int = 0
    """How many since then; those of one burst are one."""
    refused_at: float = -math.inf
    """When this process heard of the last one that counts."""
    answered_at: float = -math.inf
    """When this process last told the others that a call went well."""
    floor: float = -math.inf
    """Nothing is known from before this instant, so it counts as full."""
    past: list[Reservation] = field(default_factory=list)
    started: list[Reservation] = field(default_factory=list)
    planned: list[Reservation] = field(default_factory=list)
    flying: set[int] = field(default_factory=set)
    """Tickets whose calls are not over."""
    rules: tuple[WindowLimit, ...] = ()
    reach: float = 0.0
    """Longest span."""
    sends: int = 0
    margin_since: float = -math.inf
    """When this process learned of the margin in force."""
    backoff: float = 0.0
    """Seconds of the last hold that we chose ourselves."""
    passed: float = -math.inf
    """The last hold after which a call went well."""
    dirty: set[KeyLog] = field(default_factory=set)
    """Key logs whose plan no longer follows from the history; shared by those of a pool."""
    known_opens: float | None = None
    """What `opens` would say, where that is known; it is asked of every key log, every time."""
    _release: float | None = None
    _token_rules: bool = False
    _rank: tuple[float, int] | None = None
    _most: int = 1
    _first: int = 0
    """Reservations before it in `past` left every span."""

    def __post_init__(self) -> None:
        self.rebuild()

    @property
    def limit(self) -> int | None:
        """Requests of the first window that may be ours now; None: no limit."""
        if not self.app_id.windows:
            return None
        control = self.control
        limit = self.app_id.windows[0].limit if control.limit is None else control.limit
        return max(0, min(limit, control.server_limit or limit))

    @property
    def eps(self) -> float:
        """Margin in force, seconds."""
        return max(self.margin, self.control.margin)

    def rebuild(self) -> None:
        """Derive the rules anew, after `control` or the margin changed."""
        eps = self.eps
        rules = []
        for index, window in enumerate(self.app_id.windows):
            limit = window.limit
            if index == 0:
                limit = max(0, (self.limit or 0) - self.control.external_slots)
            rules.append(WindowLimit(limit, window.seconds + eps))
            if self.app_id.pace and limit > 1:
                rules.append(WindowLimit(1, (window.seconds + eps) / limit))
        rules += [
            WindowLimit(w.limit, w.seconds + eps, tokens=True) for w in self.app_id.token_windows
        ]
        self.rules = tuple(rules)
        self.reach = max((rule.span for rule in rules), default=0.0)
        self._most = max((rule.limit for rule in rules if not rule.tokens), default=1)
        self._token_rules = bool(self.app_id.token_windows)
        self.control.highest = max(self.control.highest, self.limit or 0)
        self.touch(dirty=True)

    def touch(self, *, dirty: bool = False) -> None:
        """Forget what was derived; `dirty`: the plan must follow too."""
        self.known_opens = self._release = self._rank = None
        if dirty:
            self.dirty.add(self)

    def is_free(self, model: str, now: float) -> bool:
        """Whether it has no limit at all and may send now."""
        return (
            not self.rules
            and self.app_id.max_in_flight is None
            and self.control.reason is None
            and self.hold <= now
            and self.app_id.serves(model)
        )

    def opens(self, tokens: int) -> float:
        """Earliest instant behind all that is planned; may lie in the past; inf: not known."""
        if self.known_opens is not None:
            return self.known_opens
        if self.control.reason is not None:
            return math.inf
        cap = self.app_id.max_in_flight
        if cap is not None and len(self.flying) + len(self.planned) >= cap:
            return math.inf
        at = self._earliest(tokens, (self.planned, self.started, self.past))
        if self._token_rules:
            # First come, first served: a small request must not starve a large one.
            return max(at, self.planned[-1].at) if self.planned else at
        self.known_opens = at
        return at

    def release(self, tokens: int) -> float:
        """Earliest instant that history alone allows; inf: not known yet."""
        if self._release is not None:
            return self._release
        cap = self.app_id.max_in_flight
        if self.control.reason is not None or (cap is not None and len(self.flying) >= cap):
            return math.inf
        at = self._earliest(tokens, (self.started, self.past), strict=True)
        if not self._token_rules:
            self._release = at
        return at

    def _earliest(
        self, tokens: int, groups: Sequence[list[Reservation]], *, strict: bool = False
    ) -> float:
        at = self.hold
        for rule in self.rules:
            if rule.limit <= 0:
                return math.inf
            at = max(at, self.floor + rule.span)
            blocker = _blocker(rule, tokens, groups)
            if blocker is None:
                continue
            if strict and blocker.state == STARTED:
                return math.inf  # nobody knows yet when it was sent, so it may be now
            at = max(at, blocker.at + rule.span)
        return at

    def add(self, reservation: Reservation) -> None:
        """Put a reservation where its state belongs."""
        if reservation.state == PLANNED:
            _insert(self.planned, reservation)
        elif reservation.state == STARTED:
            _insert(self.started, reservation)
        elif reservation.state != GONE:
            _insert(self.past, reservation)
            if self.past[self._first].at > reservation.at:
                self._first = 0
        if reservation.state in (STARTED, SENT):
            self.flying.add(reservation.ticket)
        self.known_opens = self._release = self._rank = None

    def remove(self, reservation: Reservation) -> None:
        """Take a reservation out, before its state or instant changes."""
        self.flying.discard(reservation.ticket)
        self.touch()
        if reservation.state in (PLANNED, STARTED):
            group = self.planned if reservation.state == PLANNED else self.started
            if reservation in group:
                group.remove(reservation)
            return
        for index in range(bisect_left(self.past, reservation.at, key=_at), len(self.past)):
            if self.past[index] is reservation:
                del self.past[index]
                self._first -= index < self._first
                return

    def clear(self) -> None:
        """Forget all reservations."""
        for group in (self.past, self.started, self.planned):
            group.clear()
        self._first = 0
        self.flying.clear()
        self.touch(dirty=True)

    def trim(self, now: float) -> list[Reservation]:
        """Drop and return confirmed sends that left every span."""
        self._advance(now)
        self._rank = None
        if self._first <= _STALE:
            return []
        gone, self.past = self.past[: self._first], self.past[self._first :]
        self._first = 0
        return [reservation for reservation in gone if reservation.ticket not in self.flying]

    def used(self, now: float, seconds: float) -> int:
        """Number of sends in the last `seconds`, whoever made them."""
        return len(self.past) - bisect_left(self.past, now - seconds, key=_at) + len(self.started)

    def rank(self) -> tuple[float, int]:
        """How full the longest window is, then how often it was used: it only breaks ties."""
        if self._rank is None:
            reservations = len(self.past) - self._first + len(self.started) + len(self.planned)
            self._rank = (reservations / self._most, self.sends)
        return self._rank

    def _advance(self, now: float) -> None:
        past, first, edge = self.past, self._first, now - self.reach
        while first < len(past) and past[first].at < edge:
            first += 1
        self._first = first
