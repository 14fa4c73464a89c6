"""The one clock of the ledger: monotonic seconds, shared by all processes of one boot."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["boot_id", "booted_at", "now"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

now = time.monotonic
"""Seconds on a clock that never steps. On Linux it is the same for every process until a reboot."""


def boot_id() -> str:
    """Name of the current boot; instants of `now` mean nothing under another one."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        # Without the kernel's id: a reboot moves this by minutes, a clock step only costs a hold.
        return f"minute-{round((time.time() - now()) / 60)}"


def booted_at() -> float:
    """Latest instant, on `now`, at which anything from before this boot can have happened."""
    try:
        return now() - time.clock_gettime(time.CLOCK_BOOTTIME)
    except (AttributeError, OSError):
        return now()
