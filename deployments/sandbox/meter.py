"""Sliding windows as a provider keeps them: an exact log of arrivals, on its own clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tasks.core.quotas import Window

__all__ = ["KeyMeter", "Ruling", "SlidingWindow", "Use"]


@dataclass(slots=True)
class Use:
    """What one arrival took of one window."""

    at: float
    weight: int
    counted: bool = True
    """False once it has left the window."""


@dataclass(slots=True)
class Ruling:
    """What a key's windows say of one arrival."""

    wait: float | None
    """None: accepted; else seconds until it would have been."""
    window: Window | None = None
    """The window that says so."""
    unit: str = "requests"
    """What that window counts: requests or tokens."""
    token_uses: list[tuple[SlidingWindow, Use]] = field(default_factory=list)
    request_uses: list[tuple[SlidingWindow, Use]] = field(default_factory=list)

    def settle(self, tokens: int) -> None:
        """Replace the estimate by the tokens really used."""
        for window, use in self.token_uses:
            window.settle(use, tokens)

    def give_back(self) -> None:
        """The arrival has used nothing after all."""
        for window, use in (*self.token_uses, *self.request_uses):
            window.settle(use, 0)


class SlidingWindow:
    """One window of one key. Instants are monotonic seconds and never go back.

    An arrival at A is admitted iff what was admitted in (A - W, A], plus its own weight, is at
    most the limit: the entry of exactly A - W is out.
    """

    __slots__ = ("arrived", "peak", "peak_arrived", "used", "uses", "window")

    def __init__(self, window: Window, uses: Iterable[Use] = ()) -> None:
        self.window = window
        self.uses: deque[Use] = deque(Use(use.at, use.weight) for use in uses)
        self.used = sum(use.weight for use in self.uses)
        self.peak = 0
        """Most that was ever admitted in one window."""
        self.arrived: deque[float] = deque()
        self.peak_arrived = 0
        """Most arrivals in one window, refused ones included."""

    def arrive(self, at: float) -> None:
        """Note an arrival, whatever becomes of it."""
        edge = at - self.window.seconds
        self.arrived.append(at)
        while self.arrived[0] <= edge:
            self.arrived.popleft()
        self.peak_arrived = max(self.peak_arrived, len(self.arrived))

    def admits(self, at: float, weight: int = 1) -> bool:
        """Whether `weight` more fits at this instant."""
        self._expire(at)
        return self.used + weight <= self.window.limit

    def take(self, at: float, weight: int = 1, *, admitted: bool = True) -> Use:
        """Use `weight` from this instant on; a refused arrival can use quota, but makes no peak."""
        self._expire(at)
        use = Use(at, weight)
        self.uses.append(use)
        self.used += weight
        if admitted:
            self.peak = max(self.peak, self.used)
        return use

    def settle(self, use: Use, weight: int) -> None:
        """Correct what `use` took, once the reply tells."""
        if use.counted:
            self.used += weight - use.weight
            self.peak = max(self.peak, self.used)
        use.weight = weight

    def wait(self, at: float, weight: int = 1) -> float:
        """Seconds until `weight` would fit; the whole window if it never does."""
        self._expire(at)
        excess = self.used + weight - self.window.limit
        for use in self.uses:
            if excess <= 0:
                break
            excess -= use.weight
            leaves = use.at + self.window.seconds - at
            if excess <= 0:
                return leaves
        return self.window.seconds if excess > 0 else 0.0

    def next_free(self, at: float) -> float:
        """Seconds until the oldest use leaves; 0 when nothing is used."""
        self._expire(at)
        return self.uses[0].at + self.window.seconds - at if self.uses else 0.0

    def _expire(self, at: float) -> None:
        edge = at - self.window.seconds
        while self.uses and self.uses[0].at <= edge:
            gone = self.uses.popleft()
            gone.counted = False
            self.used -= gone.weight


def _rebuilt(old: list[SlidingWindow], windows: Iterable[Window]) -> list[SlidingWindow]:
    # A changed quota goes on from what the longest old window remembers.
    kept = {window.window: window for window in old}
    longest = max(old, key=lambda w: w.window.seconds).uses if old else ()
    return [kept.get(window) or SlidingWindow(window, longest) for window in windows]


class KeyMeter:
    """All windows of one key, and its counts."""

    def __init__(self) -> None:
        self.requests: list[SlidingWindow] = []
        self.tokens: list[SlidingWindow] = []
        self.arrivals = self.accepted = self.refused = 0

    def configure(self, requests: Iterable[Window], tokens: Iterable[Window]) -> None:
        """Apply these windows; uses and peaks of unchanged windows stay."""
        self.requests = _rebuilt(self.requests, requests)
        self.tokens = _rebuilt(self.tokens, tokens)

    def arrive(self, at: float, tokens: int, *, enforce: bool, count_refused: bool) -> Ruling:
        """Decide one arrival that brings `tokens` by estimate."""
        self.arrivals += 1
        for window in self.requests:
            window.arrive(at)
        tests = [(w, 1) for w in self.requests] + [(w, tokens) for w in self.tokens]
        admitted = not enforce or all(w.admits(at, weight) for w, weight in tests)
        ruling = Ruling(None) if admitted else self._refused(at, tests)
        self.accepted += admitted
        self.refused += not admitted
        if admitted or count_refused:
            uses = [(w, w.take(at, weight, admitted=admitted)) for w, weight in tests]
            ruling.token_uses.extend(uses[len(self.requests) :])
            ruling.request_uses.extend(uses[: len(self.requests)])
        return ruling

    def _refused(self, at: float, tests: list[tuple[SlidingWindow, int]]) -> Ruling:
        waits = [window.wait(at, weight) for window, weight in tests]
        longest = waits.index(max(waits))
        unit = "requests" if longest < len(self.requests) else "tokens"
        return Ruling(waits[longest], tests[longest][0].window, unit)

    def summary(self) -> dict[str, Any]:
        """Counts and peaks as plain data."""
        return {
            "requests": self.arrivals,
            "accepted": self.accepted,
            "refused": self.refused,
            "windows": [
                {
                    "window": str(w.window),
                    "peak_accepted": w.peak,
                    "peak_arrived": w.peak_arrived,
                }
                for w in self.requests
            ],
            "token_windows": [
                {"window": str(w.window), "peak_accepted": w.peak} for w in self.tokens
            ],
        }
