"""
Whether a reviewer has become worse beyond chance: a control chart over its nights.

    one night       of n canaries x went wrong. Given all nights before, x is hypergeometric as long as
                    nothing has changed, whatever the true rate: its tail is Fisher's exact test. The
                    tail, taken in the middle of x's own probability, becomes a standard normal value
                    Q (C. P. Quesenberry, Journal of Quality Technology 23 (1991), 239-246)
    many nights     S = max(0, S + Q - 0.5), and a change is told where S exceeds 5.5 (one-sided CUSUM,
                    E. S. Page, Biometrika 41 (1954), 100-115); then S begins at 0 again

Nothing has to be known or set: the nights before are the measure, and how sure they are of it counts.
Of 1,000 simulated months without a change, 2 to 11 are told of one; tests/benchmarks/README.md has
the figures. Nights begin to count when the ones before have had 20 canaries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import NormalDist

__all__ = ["ChangePoint", "Counted", "q_value", "told_now"]

SLACK = 0.5
"""Half of the shift that is found soonest, in standard deviations of a night."""
LIMIT = 5.5
_LEAST = 20
"""Canaries before a night that it can be measured by."""
_CERTAIN = 1e-12
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Counted:
    """Canaries that went wrong, of so many."""

    bad: int = 0
    of: int = 0

    def __add__(self, other: Counted) -> Counted:
        return Counted(self.bad + other.bad, self.of + other.of)


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A change for the worse that the last night tells of."""

    nights: int
    """Since it seems to have begun, the last one included."""
    since: Counted
    before: Counted
    score: float
    """S, above LIMIT."""


def told_now(nights: Sequence[Counted]) -> ChangePoint | None:
    """The change that the last night tells of; nights in their order. None: it tells of none."""
    before, score, first = Counted(), 0.0, 0
    for number, night in enumerate(nights):
        if before.of >= _LEAST and night.of:
            score = max(0.0, score + q_value(night, before) - SLACK)
        if not score:
            first = number + 1
        elif score > LIMIT:
            if number == len(nights) - 1:
                return _change(nights, first, score)
            score, first = 0.0, number + 1
        before += night
    return None


def _change(nights: Sequence[Counted], first: int, score: float) -> ChangePoint:
    earlier, later = (sum(some, start=Counted()) for some in (nights[:first], nights[first:]))
    return ChangePoint(len(nights) - first, later, earlier, score)


def q_value(night: Counted, before: Counted) -> float:
    """How much worse a night is than those before it, in standard deviations: above 0 is worse."""
    bad, all_of = before.bad + night.bad, before.of + night.of
    ways = {
        wrong: comb(bad, wrong) * comb(all_of - bad, night.of - wrong)
        for wrong in range(night.bad, min(bad, night.of) + 1)
    }
    tail = sum(ways.values()) - ways[night.bad] / 2
    share = tail / comb(all_of, night.of)
    return _NORMAL.inv_cdf(1 - min(max(share, _CERTAIN), 1 - _CERTAIN))
