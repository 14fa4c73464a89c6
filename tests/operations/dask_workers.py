"""Machines, as far as one machine can play several: a Dask scheduler, and workers that share no folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flows.shards.remote.parcel import PLACE
from tests.conftest import KEYS
from tests.runs import offspring

__all__ = ["Workers"]


@dataclass(slots=True)
class Workers:
    """A scheduler and its workers, each started as the documentation has it, in a folder of its own."""

    folder: Path
    port: int
    environment: dict[str, str]
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    scheme: str = "tcp"

    @property
    def address(self) -> str:
        """The scheduler's, as review.toml has it."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start_scheduler(self, *options: str) -> None:
        """Start the scheduler, on the same port each time."""
        where = ["--protocol", self.scheme, "--host", "127.0.0.1", "--port", str(self.port)]
        command = ["dask", "scheduler", *where, "--no-dashboard", *options]
        # It needs neither keys nor a login.
        self._start("scheduler", command, [*KEYS, "PREFECT_API_AUTH_STRING"])

    def start(
        self,
        *names: str,
        place: str = PLACE,
        options: Sequence[str] = ("--no-nanny",),
        less: Sequence[str] = (),
        **more: str,
    ) -> None:
        """Start the workers that do not run, with a place each; `less` are variables that they lack."""
        for name in names:
            if name in self.started and self.started[name].poll() is None:
                continue
            resources = ["--resources", f"{place}=1"] if place else []
            command = ["dask", "worker", self.address, "--nthreads", "1", *resources, *options]
            command += ["--name", name, "--no-dashboard", "--host", "127.0.0.1"]
            self._start(name, command, less, more)

    def _start(
        self,
        name: str,
        command: list[str],
        less: Sequence[str] = (),
        more: dict[str, str] | None = None,
    ) -> None:
        home = self.folder / name
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        own = {"PREFECT_HOME": str(home), "TMPDIR": str(home / "tmp")} | (more or {})
        kept = {key: value for key, value in self.environment.items() if key not in less}
        with (home / "log").open("ab") as log:
            self.started[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=home,
                env=kept | own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def shards(self, name: str) -> list[int]:
        """Pids of the processes that work on shards at a worker."""
        found = []
        for pid in offspring(self.started[name].pid):
            with suppress(OSError):
                if b"flows.remote_shard" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def left(self) -> list[Path]:
        """Folders of shards that are still there, at any worker."""
        return sorted(self.folder.glob("*/tmp/review-shard-*"))

    def logs(self) -> str:
        """What scheduler and workers have said so far."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*/log")))

    def tell(self, name: str, number: int) -> None:
        """Send a signal to a worker or the scheduler alone."""
        self.started[name].send_signal(number)

    def kill(self, name: str) -> None:
        """The machine is gone: worker and shards, without a word."""
        for pid in [*offspring(self.started[name].pid), self.started[name].pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.started[name].wait(60)

    def stop(self) -> None:
        """Kill all that was started."""
        for name in list(self.started):
            self.kill(name)
        self.started.clear()
