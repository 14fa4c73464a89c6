"""How many calls must be in flight for the quotas to be the only bound."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from math import ceil

from tasks.core.errors import ConfigError
from tasks.core.quotas import AppId

__all__ = ["default_threads", "ensure_open_files"]

LATENCY = 20.0
"""Seconds a call is assumed to take; reviews of long diffs do."""

UNLIMITED = 512
"""Most threads where an app_id has no quota; how many of them work is found while they do."""

MOST_THREADS = 512
"""Threads of one process; beyond it they cost more than they bring."""

_OWN_FILES, _THREADS_PER_FILE = 48, 32
"""Descriptors of a process beside one connection per call: 32 in a run of few calls, for journal,
ledger, logs and pipes, and 62 in one of 512 at a time, which read the journal at once."""


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


def ensure_open_files(threads: int) -> None:
    """See that this process may open what so many calls in flight need: a connection each.

    The soft limit is raised where the hard one allows it; a run with too few would lose calls.

    Raises:
        ConfigError: the hard limit is lower; the message has the number that is needed.
    """
    needed = threads + threads // _THREADS_PER_FILE + _OWN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        msg = (
            f"{threads} calls in flight need {needed} open files in a process and {hard} are allowed: "
            f"run `ulimit -n {needed}` first, or set fewer `threads` in review.toml"
        )
        raise ConfigError(msg)
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
