"""Processes that stay behind: started once, found again, stopped with what belongs to them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.services import Service

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
time.sleep(600)
""",
]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that is stopped whatever the test does."""
    made = Service("thing", tmp_path / "services")
    yield made
    made.stop(5)


def _until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "waited 30 s in vain"
        time.sleep(0.02)


def test_starts_once(service: Service, tmp_path: Path) -> None:
    """A second start finds the first process and starts none."""
    assert service.pid is None
    assert service.start(SLEEP, os.environ, tmp_path)
    pid = service.pid

    assert not service.start(SLEEP, os.environ, tmp_path)
    assert pid is not None
    assert service.pid == pid
    _until(lambda: service.exit_report() == "up")


def test_stop_ends_it_and_its_children(service: Service, tmp_path: Path) -> None:
    """One that ignores SIGTERM is killed, and the child that it started goes with it."""
    service.start(STUBBORN, os.environ, tmp_path)
    _until(lambda: "child" in service.exit_report())
    child = Path(f"/proc/{service.exit_report().split()[-1]}/stat")

    assert service.stop(0.3)
    _until(lambda: not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z")
    assert service.pid is None
    assert not service.stop(0.3)


def test_a_dead_process_is_not_running(service: Service, tmp_path: Path) -> None:
    """After kill -9 the pid file is left over, is not believed, and a new start works."""
    service.start(SLEEP, os.environ, tmp_path)
    first = service.pid
    assert first is not None
    os.kill(first, 9)
    _until(lambda: service.pid is None)

    assert service.start(SLEEP, os.environ, tmp_path)
    assert service.pid not in (None, first)


def test_a_reused_pid_is_left_alone(service: Service) -> None:
    """A pid file that nobody holds may name anybody's process: stopping does not touch it."""
    stranger = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL)
    try:
        service.folder.mkdir()
        service.pid_file.write_text(f"{stranger.pid}\n")

        assert not service.stop(0.3)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(10)
