"""Proportions with their uncertainty; unknown is None."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Proportion", "f1", "wilson"]

_Z95 = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share with its 95 % interval, all between 0 and 1."""

    value: float
    low: float
    high: float


def wilson(hits: int, total: int, z: float = _Z95) -> Proportion | None:
    """Share of `hits` in `total` with Wilson's score interval; None when total is 0.

    E. B. Wilson, JASA 22 (1927), 209-212. Unlike the normal one it stays within 0 and 1, and says
    something at 0 of n.
    """
    if total <= 0:
        return None
    share = hits / total
    spread = z * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    scale = 1 + z * z / total
    middle = share + z * z / (2 * total)
    low, high = (middle - spread) / scale, (middle + spread) / scale
    return Proportion(share, min(share, max(0.0, low)), max(share, min(1.0, high)))


def f1(true: int, false: int, missed: int) -> Proportion | None:
    """F1 of true positives, false positives and missed defects; None when there were none at all.

    F1 itself is no proportion of independent trials, but F* = true / (true + false + missed) is,
    and F1 = 2 F* / (1 + F*) grows with it: the interval is F*'s, mapped (Hand, Christen and
    Kirielle, Machine Learning 110 (2021), 451-456).
    """
    star = wilson(true, true + false + missed)
    if star is None:
        return None
    return Proportion(*(2 * x / (1 + x) for x in (star.value, star.low, star.high)))
