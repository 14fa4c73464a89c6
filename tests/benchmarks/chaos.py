"""
Twenty kills over one run of 3,000 calls, with faults; then the outputs are compared with a quiet run's.

    python -m tests.benchmarks.chaos [--inputs 1500] [--kills 20] [--seed 1]

A kill is one of: -9 or SIGTERM to everything, to the parent, to one shard; SIGINT to everything.
Whatever ends by it is started again at once. Afterwards 1,000 calls go through 20 % of mixed
faults in one go, without anybody's help. Prints two tables; exit code 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from deployments.sandbox import Sandbox, start_sandbox
from tests.runs import PASSING, config, group_is_gone, numbered, shards, whole

CHECKS = 2
IN_FLIGHT = 12
LATENCY = 0.25
_OF_FORM = {"broken_json", "prose", "null_content", "fenced", "trailing_commas"}
"""A model that is asked again because of its form is asked something else, and may answer otherwise."""
_PAID = re.compile(r"calls\.\d+\.(input|output)_tokens: ")
_TOKENS = 2
"""Columns of tokens in a call's row."""

KILLS = {
    "kill -9 of everything": ("group", signal.SIGKILL),
    "kill -9 of the parent": ("parent", signal.SIGKILL),
    "kill -9 of one shard": ("shard", signal.SIGKILL),
    "SIGTERM to the parent": ("parent", signal.SIGTERM),
    "SIGTERM to one shard": ("shard", signal.SIGTERM),
    "Ctrl-C": ("group", signal.SIGINT),
}


@dataclass(slots=True)
class Tally:
    """What one kind of kill cost."""

    times: int = 0
    paid_twice: int = 0
    reruns: int = 0


@dataclass(slots=True)
class Chaos:
    """One run that is not left in peace."""

    sandbox: Sandbox
    folder: Path
    source: Path
    rng: random.Random
    process: subprocess.Popen[bytes] | None = None
    tallies: dict[str, Tally] = field(default_factory=dict)
    last: Tally = field(default_factory=Tally)
    """That of the kill before, whose calls may still be answered a second time."""
    twice: int = 0

    def start(self) -> None:
        """Start the command, or start it again."""
        self.process = start(self.folder, self.source, self.folder / "out")

    def kill(self, name: str, at: int) -> None:
        """Kill once as soon as `at` calls are answered, and start again what ended by it."""
        self._await(at)
        self.settle()
        whom, sent = KILLS[name]
        self._send(whom, sent)
        self.last = tally = self.tallies.setdefault(name, Tally())
        tally.times += 1
        if whom != "shard":
            self._bury()
            tally.reruns += 1
            self.start()

    def settle(self) -> None:
        """Book what was paid twice since the kill before."""
        now = self.sandbox.stats()["duplicates"]
        self.last.paid_twice += now - self.twice
        self.twice = now

    def _send(self, whom: str, sent: signal.Signals) -> None:
        assert self.process is not None
        if whom == "group":
            os.killpg(self.process.pid, sent)
        elif whom == "parent":
            os.kill(self.process.pid, sent)
        else:
            os.kill(self.rng.choice(self._shards()), sent)

    def _shards(self) -> list[int]:
        assert self.process is not None
        return shards(self.process.pid)

    def _bury(self) -> None:
        assert self.process is not None
        self.process.wait(120)
        deadline = time.monotonic() + 60
        while not group_is_gone(self.process.pid):
            assert time.monotonic() < deadline, "a process outlived its run"
            time.sleep(0.1)

    def _await(self, answered: int) -> None:
        """Until so many calls are answered and a shard is there to be killed, or the run is over."""
        assert self.process is not None
        while self.process.poll() is None:
            if self.sandbox.stats()["answered"] >= answered and self._shards():
                return
            time.sleep(0.05 + self.rng.random() / 4)

    def end(self) -> int:
        """Let it end; returns the exit code."""
        assert self.process is not None
        code = self.process.wait()
        self.settle()
        return code


def _own(folder: Path) -> dict[str, str]:
    """Keys, and a Prefect server and database that are not the user's."""
    keys = {"KEY_A": "chaos-key-a", "KEY_B": "chaos-key-b"}
    return {**keys, "PREFECT_HOME": str(folder / "home"), "PREFECT_API_URL": ""}


def start(folder: Path, source: Path, output: Path, *more: str) -> subprocess.Popen[bytes]:
    """The command line, in a process group of its own."""
    command = [sys.executable, "-m", "flows.bulk_review", str(source), "--config", "review.toml"]
    said = (folder / "said.txt").open("ab")
    with said:
        return subprocess.Popen(
            [*command, "--output", str(output), *more],
            cwd=folder,
            env=os.environ | _own(folder),
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def differences(chaotic: Any, quiet: Any, place: str = "") -> Iterator[str]:
    """Where two documents differ, and by what: `calls.12.attempts: 2, 1`."""
    if isinstance(chaotic, dict) and isinstance(quiet, dict) and chaotic.keys() == quiet.keys():
        for name in chaotic:
            yield from differences(chaotic[name], quiet[name], f"{place}.{name}")
    elif isinstance(chaotic, list) and isinstance(quiet, list) and len(chaotic) == len(quiet):
        for number, pair in enumerate(zip(chaotic, quiet, strict=True)):
            yield from differences(*pair, f"{place}.{number}")
    elif chaotic != quiet:
        yield f"{place[1:]}: {str(chaotic)[:200]}, {str(quiet)[:200]}"


def chaos(sandbox: Sandbox, folder: Path, inputs: int, kills: int, seed: int) -> bool:
    """Run, kill, compare; prints the table. True: complete and exact."""
    few = {fault: rate / 4 for fault, rate in PASSING.items() if fault not in _OF_FORM}
    sandbox.control(latency=LATENCY, faults=few, hang_seconds=30, fault_wait=0.2, seed=seed)
    head = "timeout = 5\nstream_idle_timeout = 2"
    (folder / "review.toml").write_text(config(sandbox, head=head))
    run = Chaos(sandbox, folder, numbered(folder / "in.jsonl", inputs), random.Random(seed))
    names = [name for _ in range(kills) for name in KILLS][:kills]
    run.rng.shuffle(names)
    moments = sorted(run.rng.sample(range(IN_FLIGHT, int(0.9 * inputs * CHECKS)), kills))
    run.start()
    for name, moment in zip(names, moments, strict=True):
        run.kill(name, moment)
        print(f"  {name}: {sandbox.stats()['answered']:,} calls answered", file=sys.stderr)
    code, seen = run.end(), sandbox.stats()
    sandbox.control(faults={}, latency=0.0)
    quiet = start(folder, run.source, folder / "apart" / "quiet", "--fresh").wait()
    found = list(differences(whole(folder / "out"), whole(folder / "apart" / "quiet")))
    # A reply that says nothing is paid for, and counts beside the one that was asked for after it.
    paid = [one for one in found if _PAID.match(one)]
    empty = seen["faults"].get("empty_choices", 0)
    differing = [one for one in found if one not in paid or len(paid) > empty * _TOKENS]
    cells = json.loads((folder / "out" / "manifest.json").read_text())["counts"]["cells"]
    lost = inputs * CHECKS - cells["ok"]
    print("\n| fault | times | runs ended by it | cells lost | paid twice | in flight |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, tally in sorted(run.tallies.items()):
        most = tally.times * IN_FLIGHT
        row = f"| {name} | {tally.times} | {tally.reruns} | {lost} | {tally.paid_twice} |"
        print(f"{row} <= {most} |")
    for fault, count in sorted(Counter(seen["faults"]).items()):
        print(f"| {fault} | {count} | 0 | {lost} | - | - |")
    print(
        f"\nexit codes {code} and {quiet}; {inputs * CHECKS:,} cells, {seen['requests']:,} requests, "
        f"{seen['duplicates']} good answers paid twice; outputs "
        f"{'DIFFER from those' if differing else 'equal those'} of an undisturbed run "
        f"but for the tokens of {len(paid) // _TOKENS} replies without a choice, which are paid"
    )
    for difference in islice(differing, 10):
        print(f"  {difference}")
    return code == quiet == lost == 0 and not differing and seen["duplicates"] <= kills * IN_FLIGHT


def faults(sandbox: Sandbox, folder: Path, inputs: int, seed: int) -> bool:
    """1,000 calls under 20 % of mixed faults, one start; True: exit code 0."""
    sandbox.reset()
    sandbox.control(latency=0.05, faults=PASSING, hang_seconds=30, fault_wait=0.2, seed=seed)
    began = time.monotonic()
    source = numbered(folder / "faulty.jsonl", inputs, note="faulty")
    code = start(folder, source, folder / "faulty").wait()
    seen = sandbox.stats()
    met = sum(seen["faults"].values())
    print(
        f"\n{inputs * CHECKS:,} calls under faults: exit code {code}, {seen['requests']:,} requests, "
        f"{met} faults ({met / seen['requests']:.0%}) of {len(seen['faults'])} kinds, "
        f"{time.monotonic() - began:.0f} s"
    )
    return code == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.chaos", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1500)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, start_sandbox() as sandbox:
        folder = Path(name)
        good = chaos(sandbox, folder, options.inputs, options.kills, options.seed)
        good &= faults(sandbox, folder, options.inputs // 3, options.seed)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
