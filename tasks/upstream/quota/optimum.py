"""
The shortest span in which windows let a number of calls go out, in closed form.

The sends of one app_id that go out as early as its windows allow: send c + 1 goes out at

    f(c) = the most seconds that windows add up to whose limits add up to at most c

since each send waits for the one `limit` sends before it, for each window. So by an instant T an
app_id has sent N(T) = the least sum of limits whose windows add up to more than T, and a pool is
through at the first T at which the sum of N(T) reaches the calls. Times are whole microseconds:
that makes the search for T exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import gcd

from tasks.core.quotas import AppId, Window

__all__ = ["optimum_seconds"]

_MICRO = 1_000_000

Item = tuple[int, int]
"""Limit and microseconds of a window."""


def optimum_seconds(calls: int, app_ids: Sequence[AppId]) -> float:
    """Seconds from the first send to the last when `calls` go out as early as the windows allow.

    0 when there are none, or when an app_id has no window.
    """
    if calls < 1 or not app_ids or any(not app_id.windows for app_id in app_ids):
        return 0.0
    pool = Counter(_items(app_id.windows) for app_id in app_ids)

    def through(instant: int) -> bool:
        return sum(count * _sent(items, instant) for items, count in pool.items()) >= calls

    # One app_id alone is through by then, whatever the others do.
    latest = min(sum((calls // limit + 1) * length for limit, length in items) for items in pool)
    return _first(through, latest) / _MICRO


def _items(windows: Sequence[Window]) -> tuple[Item, ...]:
    """The windows, the strictest over a long time first."""
    items = {(window.limit, max(1, round(window.seconds * _MICRO))) for window in windows}
    return tuple(sorted(items, key=lambda item: item[1] / item[0], reverse=True))


def _first(holds: Callable[[int], bool], last: int) -> int:
    """The least number from 0 to `last` that holds; from it on all do."""
    low = 0
    while low < last:
        middle = (low + last) // 2
        if holds(middle):
            last = middle
        else:
            low = middle + 1
    return low


def _sent(items: Sequence[Item], instant: int) -> int:
    """Sends of one app_id up to an instant, that one included."""
    return _least(items, instant + 1)


def _least(items: Sequence[Item], needed: int) -> int:
    """The least sum of limits whose windows add up to `needed` microseconds at least."""
    if needed <= 0:
        return 0
    (limit, length), others = items[0], items[1:]
    count = -(-needed // length)
    least = count * limit
    if not others:
        return least
    other_limit, other_length = others[0]
    while count:
        # Fewer of the strictest leave more to the others, which take more sends for the same time.
        count -= 1
        left = needed - count * length
        bound = count * limit * other_length + left * other_limit
        if bound >= least * other_length or left > _most(limit, others) + length:
            break
        least = min(least, count * limit + _least(others, left))
    return least


def _most(limit: int, others: Sequence[Item]) -> int:
    """Microseconds of other windows beyond which some of them can be changed for the strictest."""
    return sum(limit // gcd(limit, other) * length for other, length in others)
