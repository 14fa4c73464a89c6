"""Progress of a run at one moment, as numbers and as one line. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tasks.core.text_safety import ellipsize
from tasks.estimate.loads import duration
from tasks.infer.progress import Tally

__all__ = ["QUOTA_WAIT", "Least", "Status"]

Least = Callable[[int, Mapping[str, float]], float]
"""Seconds that so many calls take at best, when app_ids are held for so many seconds, by alias."""

_PRIOR = 10
"""Inputs that are through before what they took counts for as much as what was planned."""
_NEARLY = 0.999
QUOTA_WAIT = "waiting for quota, "
"""Stands before the instant of the next send, where there is room for it."""
_SHORTEST = 24
"""Characters below which a cut notice says nothing."""


@dataclass(frozen=True, slots=True)
class Status:
    """Calls of a run, made and expected, with the time that is left. Seconds."""

    inputs: int
    """Inputs of the run."""
    each: int
    """Calls that each of them takes, as far as nothing else is known; 0: every check is a tool."""
    tally: Tally
    elapsed: float
    """Since the shards started."""
    least: Least | None = None
    holds: Mapping[str, float] = field(default_factory=dict)
    """Seconds for which app_ids are held from now on, by alias."""
    waits: str = ""
    """What the run waits for now, with the provider's words."""
    budget: str = ""
    """What is spent of the budget; empty when there is none."""

    @property
    def calls(self) -> int:
        """Calls of the whole run: inputs that are through tell of the others."""
        tally, left = self.tally, max(0, self.inputs - self.tally.inputs)
        rate = (tally.settled + _PRIOR * self.each) / (tally.inputs + _PRIOR)
        return max(tally.asked, tally.settled + round(left * rate))

    @property
    def share(self) -> float:
        """Share of the calls that have ended, 0 to 1; 1 only when every input is through."""
        if self.tally.inputs >= self.inputs:
            return 1.0
        done = self.tally.asked / self.calls if self.calls else self.tally.inputs / self.inputs
        return min(_NEARLY, done)

    @property
    def remaining(self) -> float | None:
        """Seconds to the end: at the pace so far, but never less than quotas and holds need.

        None: unknown yet.
        """
        asked, left = self.tally.asked, self.calls - self.tally.asked
        if not self.elapsed or not (asked or self.holds):
            return None
        # The first windows go out at once, so the pace of a run's beginning promises too much.
        paced = self.elapsed * left / asked if asked else 0.0
        return max(paced, self._quota_needs(left))

    def _quota_needs(self, left: int) -> float:
        asked, sent = self.tally.asked, self.tally.asked - self.tally.journaled
        # Calls that the journal answers are expected to stay as frequent.
        left = round(left * sent / asked) if asked else left
        if self.least is None or not left:
            return 0.0
        return max(self.least(left, self.holds), self.least(sent + left, {}) - self.elapsed)

    def line(self, width: int | None = None) -> str:
        """The status in one line of at most `width` characters; the time left is the last to go."""
        shown: dict[int, str] = {}
        for place, part in sorted(self._parts(), key=lambda pair: _IMPORTANCE.index(pair[0])):
            room = None if width is None else width - len(_joined(shown)) - 2 * bool(shown)
            if room is None or len(part) <= room:
                shown[place] = part
            elif place == _WAITS and (text := _fitting(part, room)):
                shown[place] = text
        return _joined(shown)

    def _parts(self) -> list[tuple[int, str]]:
        tally, left = self.tally, self.remaining
        sent = max(0, tally.asked - tally.journaled)
        parts = [
            (_CALLS, f"{tally.asked:,} of {self.calls:,} calls" if self.calls else ""),
            (_LEFT, "" if left is None or not self._goes_on else f"{duration(left)} left"),
            (_WAITS, self.waits),
            (_LOST, f"{tally.lost:,} failed" if tally.lost else ""),
            (_BUDGET, self.budget),
            (_INPUTS, f"{tally.inputs:,} of {self.inputs:,} inputs"),
            (_JOURNALED, f"{tally.journaled:,} from the journal" if tally.journaled else ""),
            (_RATE, f"{sent * 60 / self.elapsed:,.0f} calls/min" if self.elapsed and sent else ""),
            (_QUEUE, f"{tally.queue / sent:.1f} s quota wait per call" if sent else ""),
        ]
        return [(place, part) for place, part in parts if part]

    @property
    def _goes_on(self) -> bool:
        return self.tally.inputs < self.inputs


_CALLS, _LEFT, _WAITS, _LOST, _BUDGET, _INPUTS, _JOURNALED, _RATE, _QUEUE = range(9)
"""Parts of the line, from left to right."""
_IMPORTANCE = (_LEFT, _CALLS, _WAITS, _LOST, _BUDGET, _INPUTS, _RATE, _JOURNALED, _QUEUE)


def _fitting(waits: str, room: int) -> str:
    """As much of the waits as fits: the next send before the holds, its instant before its words."""
    send = waits.partition("; ")[0]
    instant = send.removeprefix(QUOTA_WAIT)
    if len(send) + _SHORTEST > room:
        for text in (send, instant):
            if len(text) <= room:
                return text
    return ellipsize(waits, room) if room >= _SHORTEST else ""


def _joined(shown: Mapping[int, str]) -> str:
    return ", ".join(shown[place] for place in sorted(shown))
