"""Processes that stay behind when their starter ends: started once, found again, stopped for good.

A service holds a lock on its pid file for as long as it lives; the kernel frees it however it
dies. So a pid is only believed, and only killed, while the lock is held.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Service"]

_STARTED: dict[int, subprocess.Popen[bytes]] = {}
"""Ours, to be reaped when they are stopped by the same process that started them."""


@dataclass(frozen=True, slots=True)
class Service:
    """A process by name; its pid file and its log are in `folder`."""

    name: str
    folder: Path

    @property
    def pid_file(self) -> Path:
        """Locked by the process."""
        return self.folder / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        """What the process says; grows over restarts."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The process id, or None: it does not run."""
        try:
            with self.pid_file.open("r+") as file:
                return None if _lock(file.fileno()) else int(file.read() or 0) or None
        except FileNotFoundError:
            return None

    def start(self, command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> bool:
        """Start the process in a session of its own; False: it runs already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.pid_file.open("a+") as file, self.log.open("ab") as log:
            if not _lock(file.fileno()):
                return False
            # The child inherits the descriptor, and with it the lock, which then outlives ours.
            process = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[file.fileno()],
            )
            file.truncate(0)
            file.write(f"{process.pid}\n")
        _STARTED[process.pid] = process
        return True

    def stop(self, grace: float) -> bool:
        """Ask the process to stop, kill it and its children after `grace` seconds; False: it did not run."""
        pid = self.pid
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while self.pid == pid and time.monotonic() < deadline:
            time.sleep(0.1)
        # It leads its session: what is left of that are children it did not take along.
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        if pid in _STARTED:
            _STARTED.pop(pid).wait()
        self.pid_file.unlink(missing_ok=True)
        return True

    def exit_report(self) -> str:
        """The last lines of the log."""
        try:
            return self.log.read_text(errors="replace")[-2000:].strip()
        except FileNotFoundError:
            return ""


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
