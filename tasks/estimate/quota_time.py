"""How soon the quotas let a number of calls be over, at the very best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import optimum_seconds

__all__ = ["least_despite_holds", "least_seconds"]


def least_seconds(
    pool: Sequence[AppId],
    margin: float,
    calls: Mapping[str, float],
    tokens: Mapping[str, float] | None = None,
) -> float:
    """Seconds from the first send to the last; 0 when no quota bounds it.

    `calls` and `tokens` are by model. The whole pool bounds all calls, the app_ids that serve a
    model bound that model's, and token windows bound tokens in the same way; the latest counts.
    """
    by_requests = [replace(one, windows=_wider(one.windows, margin)) for one in pool]
    by_tokens = [replace(one, windows=_wider(one.token_windows, margin)) for one in pool]
    return max(_bound(by_requests, calls), _bound(by_tokens, tokens or {}))


def least_despite_holds(
    pool: Sequence[AppId], margin: float, calls: int, holds: Mapping[str, float]
) -> float:
    """Seconds that so many calls take while app_ids are held for so many seconds, by alias.

    Either the others make them, or they wait for one that comes back. An app_id that is out has an
    infinite hold; 0 when all are.
    """
    ends = [0.0, *sorted({end for end in holds.values() if math.isfinite(end)})]
    least = math.inf
    for end in ends:
        free = [one for one in pool if holds.get(one.alias, 0.0) <= end]
        if free:
            least = min(least, end + least_seconds(free, margin, {"": calls}))
    return least if math.isfinite(least) else 0.0


def _wider(windows: Sequence[Window], margin: float) -> tuple[Window, ...]:
    return tuple(replace(window, seconds=window.seconds + margin) for window in windows)


def _bound(pool: Sequence[AppId], wanted: Mapping[str, float]) -> float:
    whole = _optimum(sum(wanted.values()), pool)
    parts = [
        _optimum(count, [one for one in pool if one.serves(model)])
        for model, count in wanted.items()
    ]
    return max([whole, *parts])


def _optimum(count: float, pool: Sequence[AppId]) -> float:
    return optimum_seconds(round(count), pool) if pool and count >= 1 else 0.0
