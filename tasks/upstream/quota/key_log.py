"""
One app_id's log and plan.

    past        confirmed sends, by instant        ┐ history: what the server can have counted
    started     cleared to send, not yet confirmed ┘
    planned     reservations of future instants      a plan, free to move

Two questions are asked of a lane. `release`: may one more go, by history alone? It is the gate,
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

__all__ = ["ENDED", "GONE", "PLANNED", "SENT", "STARTED", "Control", "Lane", "Rule", "Use"]

PLANNED, STARTED, SENT, ENDED, GONE = range(5)

_STALE = 64  # confirmed sends that may be out of every window before they are trimmed


@dataclass(slots=True, eq=False)
class Use:
    """One slot of an app_id: a row of the ledger."""

    ticket: int
    alias: str
    owner: int
    """The process that holds it; 0 for uses by somebody unknown."""
    state: int
    at: float
    """The instant that windows are counted from."""
    sent: float | None = None
    """The true instant of the write."""
    tokens: int = 0


@dataclass(slots=True)
class Control:
    """What was said about an app_id since the run began, by operators and by the server."""

    limit: int | None = None
    """The operators' number for the first window; None: as configured."""
    told: int | None = None
    """The server's own number, where it is lower than ours."""
    occupied: int = 0
    reason: str | None = None
    """Why it is out of rotation; None: it is in."""
    paused: bool = False
    """Out, but expected back: callers wait instead of failing."""
    margin: float = 0.0
    """Seconds; raised by a 429 that our log cannot explain."""
    highest: int = 0
    """Highest limit of the first window that was ever in force."""


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `limit` requests, or tokens, in any `span` seconds."""

    limit: int
    span: float
    tokens: bool = False


def _at(use: Use) -> float:
    return use.at


def _insert(uses: list[Use], use: Use) -> None:
    if not uses or uses[-1].at <= use.at:
        uses.append(use)
    else:
        insort(uses, use, key=_at)


def _blocker(rule: Rule, tokens: int, groups: Sequence[list[Use]]) -> Use | None:
    """The use that must leave the span first. Groups are given latest first."""
    if rule.tokens:
        # A request larger than the whole quota goes alone; the server decides about it.
        room = rule.limit - min(tokens, rule.limit)
        for group in groups:
            for use in reversed(group):
                room -= use.tokens
                if room < 0:
                    return use
        return None
    nth = rule.limit
    for group in groups:
        if nth <= len(group):
            return group[-nth]
        nth -= len(group)
    return None


@dataclass(slots=True, eq=False)
class Lane:
    """State of one app_id, as far as its windows reach back. `margin` and `hold` in seconds."""

    app_id: AppId
    margin: float
    control: Control = field(default_factory=Control)
    hold: float = -math.inf
    """No send before this instant: the server said so."""
    floor: float = -math.inf
    """Nothing is known from before this instant, so it counts as full."""
    past: list[Use] = field(default_factory=list)
    started: list[Use] = field(default_factory=list)
    planned: list[Use] = field(default_factory=list)
    flying: set[int] = field(default_factory=set)
    """Tickets whose calls are not over."""
    rules: tuple[Rule, ...] = ()
    reach: float = 0.0
    """Longest span."""
    sends: int = 0
    margin_since: float = -math.inf
    """When this process learned of the margin in force."""
    backoff: float = 0.0
    """Seconds of the last hold that we chose ourselves."""
    dirty: set[Lane] = field(default_factory=set)
    """Lanes whose plan no longer follows from the history; shared by the lanes of a pool."""
    known_opens: float | None = None
    """What `opens` would say, where that is known; it is asked for every lane, every time."""
    _release: float | None = None
    _token_rules: bool = False
    _rank: tuple[float, int] | None = None
    _most: int = 1
    _first: int = 0
    """Uses before it in `past` left every span."""

    def __post_init__(self) -> None:
        self.rebuild()

    @property
    def limit(self) -> int | None:
        """Requests of the first window that may be ours now; None: no limit."""
        if not self.app_id.windows:
            return None
        control = self.control
        limit = self.app_id.windows[0].limit if control.limit is None else control.limit
        return max(0, min(limit, control.told or limit))

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
                limit = max(0, (self.limit or 0) - self.control.occupied)
            rules.append(Rule(limit, window.seconds + eps))
            if self.app_id.pace and limit > 1:
                rules.append(Rule(1, (window.seconds + eps) / limit))
        rules += [Rule(w.limit, w.seconds + eps, tokens=True) for w in self.app_id.token_windows]
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

    def _earliest(self, tokens: int, groups: Sequence[list[Use]], *, strict: bool = False) -> float:
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

    def add(self, use: Use) -> None:
        """Put a use where its state belongs."""
        if use.state == PLANNED:
            _insert(self.planned, use)
        elif use.state == STARTED:
            _insert(self.started, use)
        elif use.state != GONE:
            _insert(self.past, use)
            if self.past[self._first].at > use.at:
                self._first = 0
        if use.state in (STARTED, SENT):
            self.flying.add(use.ticket)
        self.known_opens = self._release = self._rank = None

    def remove(self, use: Use) -> None:
        """Take a use out, before its state or instant changes."""
        self.flying.discard(use.ticket)
        self.touch()
        if use.state in (PLANNED, STARTED):
            group = self.planned if use.state == PLANNED else self.started
            if use in group:
                group.remove(use)
            return
        for index in range(bisect_left(self.past, use.at, key=_at), len(self.past)):
            if self.past[index] is use:
                del self.past[index]
                self._first -= index < self._first
                return

    def clear(self) -> None:
        """Forget all uses."""
        for group in (self.past, self.started, self.planned):
            group.clear()
        self._first = 0
        self.flying.clear()
        self.touch(dirty=True)

    def trim(self, now: float) -> list[Use]:
        """Drop and return confirmed sends that left every span."""
        self._advance(now)
        self._rank = None
        if self._first <= _STALE:
            return []
        gone, self.past = self.past[: self._first], self.past[self._first :]
        self._first = 0
        return [use for use in gone if use.ticket not in self.flying]

    def used(self, now: float, seconds: float) -> int:
        """Uses in the last `seconds`, whoever made them."""
        return len(self.past) - bisect_left(self.past, now - seconds, key=_at) + len(self.started)

    def rank(self) -> tuple[float, int]:
        """How full the longest window is, then how often it was used: it only breaks ties."""
        if self._rank is None:
            uses = len(self.past) - self._first + len(self.started) + len(self.planned)
            self._rank = (uses / self._most, self.sends)
        return self._rank

    def _advance(self, now: float) -> None:
        past, first, edge = self.past, self._first, now - self.reach
        while first < len(past) and past[first].at < edge:
            first += 1
        self._first = first
