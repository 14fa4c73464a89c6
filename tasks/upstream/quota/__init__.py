"""
Who may send, and when: an exact sliding window per app_id, shared by processes and runs.

    quota           what the threads of a process use
    ledger_thread   the one thread of a process that talks to the ledger; wait_list: its callers
    allocator       the policy, on reservations and key_log: pure, no clock, no disk
    ledger          what was reserved and sent, the same for all processes
    store           its rows: a SQLite file of one machine, or a PostgreSQL database of several

Exactness rests on the gate (`Allocator.start`) inside an exclusive transaction. Between machines it
also rests on one clock, the database server's: see server_clock.
"""

from __future__ import annotations

from tasks.upstream.quota.grants import Grant
from tasks.upstream.quota.optimum import optimum_seconds
from tasks.upstream.quota.quota import Quota
from tasks.upstream.quota.signals import Allowance, Signal, SignalKind, read_signal
from tasks.upstream.quota.statistics import (
    KeyState,
    QuotaStatistics,
    QuotaUse,
    WindowUse,
    most_in_window,
    read_statistics,
)

__all__ = [
    "Allowance",
    "Grant",
    "KeyState",
    "Quota",
    "QuotaStatistics",
    "QuotaUse",
    "Signal",
    "SignalKind",
    "WindowUse",
    "most_in_window",
    "optimum_seconds",
    "read_signal",
    "read_statistics",
]
