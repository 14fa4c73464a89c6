"""Processes that leave with those who started them, and when they hear of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.shards.watchdog import deferred_sigterm
from tests.runs import await_condition


def test_sigterm_is_heard_at_the_end_of_the_block() -> None:
    """What is made in the block is known when it is heard, and it is heard once."""
    heard, made = list[list[str]](), list[str]()
    earlier = signal.signal(signal.SIGTERM, lambda *_: heard.append(list(made)))
    try:
        with deferred_sigterm():
            signal.raise_signal(signal.SIGTERM)
            made.append("a flow run")
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert heard == [["a flow run"]]


_CHILD = """
import signal, sys, time
from contextlib import nullcontext
from pathlib import Path
from flows.shards.watchdog import calls_in_flight, exit_with_worker

signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
folder, calls = Path(sys.argv[1]), float(sys.argv[2])
exit_with_worker(0, 20, (folder / "tidy").touch)
try:
    with calls_in_flight() if calls else nullcontext():
        try:
            (folder / "ready").touch()
            time.sleep(600)
        finally:
            time.sleep(calls)
            (folder / "calls").touch()
finally:
    time.sleep(600)  # as Prefect, which tells its server
"""


@pytest.mark.parametrize("calls", [0.0, 0.5])
def test_without_its_worker_a_process_ends_with_its_calls(tmp_path: Path, calls: float) -> None:
    """Calls in flight come to their end, and nothing else is waited for; its folder is tidied."""
    command = [sys.executable, "-c", _CHILD, str(tmp_path), str(calls)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdin is not None
            await_condition((tmp_path / "ready").exists, "it is at work")
            began = time.monotonic()
            process.stdin.close()
            assert process.wait(15) == 70
        finally:
            process.kill()
    assert time.monotonic() - began >= calls
    assert (tmp_path / "tidy").exists()
    assert (tmp_path / "calls").exists() or not calls
