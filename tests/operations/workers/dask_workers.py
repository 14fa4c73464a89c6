"""Machines, as far as one machine can play several: a Dask scheduler, and workers that share no folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from flows.shards.remote.parcel import PLACE
from flows.shards.remote.scheduler import Places, check_scheduler
from tasks.core.errors import StateError
from tasks.core.worker_settings import WorkersSettings
from tests.conftest import KEYS
from tests.runs import await_condition, offspring

__all__ = ["Workers", "alive", "parent_of"]

_APART = """
mount --bind "$2" /mnt && mount -t tmpfs none "$1" && mkdir -p "$2" && mount --move /mnt "$2" &&
cd "$2" && shift 2 && exec "$@"
"""
"""Shell: everything below $1 is hidden but for the folder $2, in which the rest is done."""


@cache
def _may_mount() -> bool:
    """Whether this is root, and its machine lets it have mount namespaces."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    with suppress(OSError):
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    return False


@dataclass(slots=True)
class Workers:
    """A scheduler and its workers, each started as the documentation has it, in a folder of its own.

    Each worker has a mount namespace, in which `hidden` is empty but for its own folder; where that is
    not allowed, they do without.
    """

    folder: Path
    port: int
    environment: dict[str, str]
    hidden: Path
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    scheme: str = "tcp"
    host: str = "127.0.0.1"
    under: dict[str, list[str]] = field(default_factory=dict)
    """By worker: the command that runs it."""

    @property
    def address(self) -> str:
        """The scheduler's, as review.toml has it."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def start_scheduler(self, *options: str) -> None:
        """Start the scheduler, on the same port each time."""
        where = ["--protocol", self.scheme, "--host", self.host, "--port", str(self.port)]
        command = ["dask", "scheduler", *where, "--no-dashboard", *options]
        # It needs neither keys nor a login.
        self._start("scheduler", command, [*KEYS, "PREFECT_API_AUTH_STRING"])

    def start(
        self,
        *names: str,
        places: int = 1,
        place: str = PLACE,
        options: Sequence[str] = ("--no-nanny",),
        less: Sequence[str] = (),
        host: str = "127.0.0.1",
        **more: str,
    ) -> None:
        """Start the workers that do not run; `less` are variables that they lack."""
        for name in names:
            if name in self.started and self.started[name].poll() is None:
                continue
            resources = ["--resources", f"{place}={places}"] if place else []
            threads = ["--nthreads", str(places)]
            command = ["dask", "worker", self.address, *threads, *resources, *options]
            command += ["--name", name, "--no-dashboard", "--host", host]
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
                [*self._apart(home), *self.under.get(name, ()), sys.executable, "-m", *command],
                cwd=home,
                env=kept | own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _apart(self, home: Path) -> list[str]:
        if self.scheme == "tls" or not _may_mount():  # its certificates are elsewhere
            return []
        return ["unshare", "--mount", "sh", "-c", _APART, "sh", str(self.hidden), str(home)]

    def await_places(self, wanted: int) -> None:
        """Wait until so many shards could begin."""
        settings = WorkersSettings(scheduler=self.address)

        def found() -> Places | None:
            with suppress(StateError):
                return check_scheduler(settings)
            return None

        await_condition(lambda: (now := found()) is not None and now.places == wanted, "places")

    def shards(self, name: str) -> list[int]:
        """Pids of the processes that work on shards at a worker."""
        found = []
        for pid in offspring(self.started[name].pid):
            with suppress(OSError):
                if b"flows.remote_shard" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def is_idle(self) -> bool:
        """Whether no worker has a shard in work."""
        return not any(self.shards(name) for name in self.started if name != "scheduler")

    def left(self) -> list[Path]:
        """Folders of shards that are still there, at any worker."""
        return sorted(self.folder.glob("*/tmp/review-shard-*"))

    def logs(self) -> str:
        """What scheduler and workers have said so far."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*/log")))

    def tell(self, name: str, number: int) -> None:
        """Send a signal to a worker or the scheduler alone."""
        self.started[name].send_signal(number)

    def kill(self, name: str) -> float:
        """The machine is gone, without a word, and its disk; returns when, as time.time() has it."""
        at = time.time()
        for pid in [*offspring(self.started[name].pid), self.started[name].pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.started[name].wait(30)
        for path in (self.folder / name / "tmp").glob("review-shard-*"):
            shutil.rmtree(path)
        return at

    def stop(self) -> None:
        """Kill all that was started."""
        for name in list(self.started):
            self.kill(name)
        self.started.clear()


def alive(pid: int) -> bool:
    """Whether it is there, and not only because nobody has asked how it ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def parent_of(pid: int) -> int:
    """Pid of the process that started it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
