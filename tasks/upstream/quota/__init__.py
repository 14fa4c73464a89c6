"""Who may send, and when: an exact sliding window per app_id, shared by processes and runs."""

from __future__ import annotations

from tasks.upstream.quota.quota import Grant, Quota
from tasks.upstream.quota.signals import Allowance, Signal, SignalKind, read_signal
from tasks.upstream.quota.statistics import (
    KeyState,
    QuotaStatistics,
    QuotaUse,
    WindowUse,
    most_in_window,
    optimum_seconds,
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
