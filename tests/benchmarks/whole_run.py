"""A bulk review as a process of its own, for the benchmarks: made inputs, settings, what it cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from deployments.sandbox import Sandbox

__all__ = ["KEYS", "Cost", "WholeRun", "measure", "write_inputs"]

KEYS = {f"BENCH_KEY_{n}": f"bench-key-{n}" for n in range(4)}
_SAMPLES = Path(__file__).parents[2] / "data" / "samples" / "samples.jsonl"
_UNWAITED = ("fork server", "shard")
"""Who is not in the kernel's account of its parent: shards are waited for by the fork server, and it by nobody."""
_LOOK = 0.2
"""Seconds between looks at the memory of the processes."""
_PRIVATE = 5
"""Looks from one at what each has for itself to the next."""


@dataclass(slots=True)
class Cost:
    """What a command and all its children took."""

    code: int
    wall: float
    """Seconds from start to exit."""
    cpu: float
    """Seconds of CPU, user and system, of the process and of all that it started."""
    peaks: dict[str, int] = field(default_factory=dict)
    """Largest VmHWM in MB by kind of process: parent, shard, server, other."""
    private: dict[str, int] = field(default_factory=dict)
    """Most MB that a process of the kind had for itself alone, looked up once a second: a shard is forked, so
    much of its VmHWM is memory of the process that it was forked from, and is there once."""
    shares: dict[str, float] = field(default_factory=dict)
    """Seconds of CPU by kind of process, as last seen: up to 0.2 s each is missing."""


def write_inputs(path: Path, count: int) -> None:
    """`count` different snippets: the samples' own, in turn, each with a line that only it has."""
    rows = [json.loads(line) for line in _SAMPLES.read_text().splitlines()]
    snippets = [row for row in rows if row["kind"] == "snippet"]
    with path.open("w") as file:
        for number in range(count):
            row = snippets[number % len(snippets)]
            content = f"{row['content']}\n# revision {number}\n"
            made = {"input_id": f"in-{number:06d}", "content": content, "path": row["path"]}
            file.write(json.dumps(made) + "\n")


@dataclass(frozen=True, slots=True)
class WholeRun:
    """A folder with its review.toml; state and outputs are beside it."""

    folder: Path
    sandbox: Sandbox
    home: Path
    """Prefect's."""
    checks: int = 1
    head: str = ""
    """Further top-level settings."""
    quota: str = "[]"
    state: str = "state"

    def prepare(self) -> None:
        """Write the settings: four keys without a quota, `checks` check models, no review."""
        self.folder.mkdir(parents=True, exist_ok=True)
        keys = (
            f'[app_ids.key-{n}]\nkey = "env:{name}"\nbase_url = "{self.sandbox.base_url}"\n'
            f"quota = {self.quota}\n"
            for n, name in enumerate(KEYS)
        )
        checks = (f'[[check]]\nname = "c{n}"\nmodel = "check-{n}"\n' for n in range(self.checks))
        head = f'mode = "check"\nprocesses = 2\nstate = "{self.state}"\n{self.head}\n'
        (self.folder / "review.toml").write_text(head + "".join([*keys, *checks]))

    def command(self, source: Path, output: str, *arguments: str) -> list[str]:
        """The command line, as a user types it."""
        return [
            *(sys.executable, "-m", "flows.bulk_review", str(source)),
            *("--config", "review.toml", "--output", output, *arguments),
        ]

    def environment(self, **more: str) -> dict[str, str]:
        """Keys, a Prefect home of its own, and no server of somebody else."""
        kept = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        return kept | KEYS | {"PREFECT_HOME": str(self.home)} | more

    def run(self, source: Path, output: str = "out", **more: str) -> Cost:
        """Run it to its end; raises RuntimeError with what it said if it was not complete."""
        return measure(self.command(source, output), self.folder, self.environment(**more))

    def manifest(self, output: str = "out") -> dict[str, Any]:
        """What the run says of itself."""
        return dict(json.loads((self.folder / output / "manifest.json").read_text()))


def measure(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Cost:
    """Run a command; CPU by the kernel's own account, and for the shards as last seen.

    Raises:
        RuntimeError: it failed; the message is the end of what it said.
    """
    began = time.perf_counter()
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            list(command), cwd=folder, env=environment, stdout=said, stderr=said
        )
    watch = _Watch(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    watch.end()
    if process.returncode:
        said_last = (folder / "said.txt").read_text(errors="replace")[-2000:]
        msg = f"exit code {process.returncode}: {said_last}"
        raise RuntimeError(msg)
    shares = watch.shares()
    cpu = usage.ru_utime + usage.ru_stime + sum(shares.get(kind, 0.0) for kind in _UNWAITED)
    return Cost(process.returncode, wall, cpu, watch.peaks, watch.private, shares)


class _Watch:
    """Looks at a process and all below it until it is ended."""

    def __init__(self, pid: int) -> None:
        self.peaks: dict[str, int] = {}
        self.private: dict[str, int] = {}
        self._pid = pid
        self._kinds: dict[int, str] = {}
        self._cpu: dict[int, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def shares(self) -> dict[str, float]:
        """Seconds of CPU by kind of process."""
        found: dict[str, float] = {}
        for pid, seconds in self._cpu.items():
            kind = self._kinds[pid]
            found[kind] = found.get(kind, 0.0) + seconds
        return found

    def _run(self) -> None:
        for look in count():
            if self._ended.wait(_LOOK):
                return
            for pid in (self._pid, *_below(self._pid)):
                kind = self._kind(pid)
                self.peaks[kind] = max(self.peaks.get(kind, 0), _peak(pid))
                self._cpu[pid] = _cpu(pid) or self._cpu.get(pid, 0.0)
                if look % _PRIVATE == 0:  # the kernel walks all of its pages for it
                    self.private[kind] = max(self.private.get(kind, 0), _private(pid))

    def _kind(self, pid: int) -> str:
        # A zombie still has its CPU time, but no command line any more.
        if command := _read(pid, "cmdline"):
            # The fork server and the shards have the run's command line, and names of their own.
            named = {"fork-server": "fork server", "review-shard": "shard"}
            kind = named.get(_read(pid, "comm").strip(), "other")
            kind = "server" if "flows.ui.server" in command else kind
            self._kinds[pid] = "parent" if pid == self._pid else kind
        return self._kinds.setdefault(pid, "other")


def _below(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _below(child)


def _children(pid: int) -> list[int]:
    # A child belongs to the thread that started it.
    try:
        threads = [one.name for one in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []
    return [int(child) for one in threads for child in _read(pid, f"task/{one}/children").split()]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def _peak(pid: int) -> int:
    lines = _read(pid, "status").splitlines()
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return found[0] // 1024 if found else 0


def _private(pid: int) -> int:
    rows = [line.split() for line in _read(pid, "smaps_rollup").splitlines()]
    return sum(int(row[1]) for row in rows if row[0].startswith("Private_")) // 1024


def _cpu(pid: int) -> float:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks if fields else 0.0
