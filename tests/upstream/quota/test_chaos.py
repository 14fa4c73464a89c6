"""Processes that are killed and stopped at full demand, as a server on loopback sees them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[3]


def _chaos(*flags: str, **options: object) -> dict[str, Any]:
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.quota_chaos", *flags, *arguments],
        cwd=_ROOT,
        capture_output=True,
        check=True,
        timeout=120,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_kill_and_stop_break_no_window_and_waste_few_slots() -> None:
    """4 kill -9 and 3 SIGSTOP of up to two windows: nothing is refused, 90 % of the slots used."""
    report = _chaos(processes=3, threads=6, keys=5, window=2, windows=6, kills=4, stops=3)
    assert report["refused"] == 0
    assert report["used"] >= 0.9


def test_kill_and_stop_break_no_window_of_a_ledger_in_a_database() -> None:
    """The same on PostgreSQL: nothing is refused, and nobody is stuck behind the dead and stopped."""
    report = _chaos(
        "--database", processes=3, threads=6, keys=5, window=2, windows=8, kills=4, stops=3
    )
    assert report["refused"] == 0
    assert report["used"] >= 0.5


def test_processes_get_equal_shares() -> None:
    """Over 4 processes with the same demand, the most and the least served are close."""
    report = _chaos(
        processes=4, threads=8, keys=6, window=1, windows=16, margin=0.05, kills=0, stops=0
    )
    assert report["refused"] == 0
    assert report["most_over_least"] <= 1.2
