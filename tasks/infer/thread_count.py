"""How many calls must be in flight for the quotas to be the only bound."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from tasks.core.quotas import AppId

__all__ = ["default_threads"]

LATENCY = 20.0
"""Seconds a call is assumed to take; reviews of long diffs do."""

UNLIMITED = 512
"""Most threads where an app_id has no quota; how many of them work is found while they do."""

MOST_THREADS = 512
"""Threads of one process; beyond it they cost more than they bring."""


def default_threads(pool: Sequence[AppId]) -> int:
    """Threads per process: enough that one process alone can use every app_id's whole quota.

    An app_id of q requests per W seconds needs q threads for the burst at a window's start, and
    q * L / W in steady state (Little's law), whichever is more.
    """
    return max(1, min(MOST_THREADS, sum(map(_wanted, pool))))


def _wanted(app: AppId) -> int:
    if not app.windows:
        wanted = UNLIMITED
    else:
        burst = min(window.limit for window in app.windows)
        steady = min(window.limit * LATENCY / window.seconds for window in app.windows)
        wanted = max(burst, ceil(steady))
    return wanted if app.max_in_flight is None else min(wanted, app.max_in_flight)
