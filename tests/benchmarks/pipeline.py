"""
The whole pipeline beside what one would use instead: calls per second and CPU per call, in one run.

    python tests/benchmarks/pipeline.py                                # 2,000 inputs, 50 ms
    python tests/benchmarks/pipeline.py --inputs 20000 --peers ~/peers # with peers, made there
    python tests/benchmarks/pipeline.py --only-ours --state postgresql://user@host/database
    python tests/benchmarks/pipeline.py --profile stacks.txt           # where the time goes

Ours is the command as a user types it: from JSONL to Parquet and report, Prefect's server and all
children counted, every reply journaled. The others get the same questions already rendered and
write one line a reply. All have the same keys, no quota, and are separate processes on one sandbox;
CPU is that of the process and all its children, start and imports included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whole_run import KEYS, Cost, WholeRun, measure, write_inputs

from deployments.sandbox import Sandbox, start_sandbox
from tasks.core.check_settings import CheckSettings
from tasks.load.rows import read_input
from tasks.review.inputs.render import render_input
from tasks.review.prompts import check_messages
from tasks.review.replies.contract import response_format

__all__ = ["main"]

_SCRIPTS = Path(__file__).parent / "peers"
_PEERS = {
    "flexllm": ("flexllm_pool.py", "flexllm==0.17.10"),
    "async-batch-llm": ("async_batch_llm_pool.py", "async-batch-llm[openai]==0.28.0"),
    "LiteLLM Router": ("litellm_router.py", "litellm==1.109.1"),
}
_PLAIN = {"plain asyncio": "plain_asyncio.py", "plain threads": "plain_threads.py"}


@dataclass(frozen=True, slots=True)
class Row:
    """One way's figures."""

    way: str
    cost: Cost
    calls: int
    first: float
    """Seconds from the start of the command to the first arrival of a call."""
    span: float
    """Seconds from the first arrival to the end of the last call."""

    @classmethod
    def head(cls) -> str:
        """Title lines of the table."""
        names = "way | calls/s, start to exit | calls/s while calling | CPU ms per call | first call s | wall s"
        return f"| {names} |\n|{'---|' * 6}"

    def __str__(self) -> str:
        figures = (
            f"{self.calls / self.cost.wall:.0f}",
            f"{self.calls / self.span:.0f}",
            f"{self.cost.cpu / self.calls * 1e3:.2f}",
            f"{self.first:.1f}",
            f"{self.cost.wall:.1f}",
        )
        return f"| {self.way} | {' | '.join(figures)} |"


@dataclass(frozen=True, slots=True)
class Bench:
    """What all ways share."""

    folder: Path
    sandbox: Sandbox
    inputs: int
    in_flight: int
    state: str = "state"

    @property
    def source(self) -> Path:
        return self.folder / "inputs.jsonl"

    def write_work(self) -> Path:
        """The questions as the peers get them: what our first check would ask."""
        check = CheckSettings(name="c0", model="check-0")
        system = ""
        with self.source.open() as rows, (self.folder / "questions.jsonl").open("w") as file:
            for row in rows:
                item = read_input(json.loads(row))
                rendered = render_input(item, 32_000, len).parts[0]
                messages = check_messages(item, rendered)
                system = messages[0]["content"]
                question = {"id": item.input_id, "user": messages[1]["content"]}
                file.write(json.dumps(question) + "\n")
        work = {
            "base_url": self.sandbox.base_url,
            "keys": list(KEYS.values()),
            "model": "check-0",
            "params": check.params() | {"response_format": response_format("check", "json_schema")},
            "in_flight": self.in_flight,
            "system": system,
            "source": str(self.folder / "questions.jsonl"),
            "output": str(self.folder / "answers.jsonl"),
        }
        path = self.folder / "work.json"
        path.write_text(json.dumps(work))
        return path

    def warm_up(self) -> None:
        """A first run makes Prefect's database and byte code, once per machine; it is not measured."""
        few = self.folder / "few.jsonl"
        write_inputs(few, 4)
        whole = WholeRun(self.folder / "warm", self.sandbox, home=self.folder / "prefect")
        whole.prepare()
        whole.run(few)

    def ours(self, threads: int | None, wrapper: list[str]) -> Row:
        """The pipeline, from nothing."""
        head = f"threads = {threads}" if threads else ""
        home, folder = self.folder / "prefect", self.folder / f"ours-{threads}"
        whole = WholeRun(folder, self.sandbox, home=home, head=head, state=self.state)
        whole.prepare()
        command = [*wrapper, *whole.command(self.source, "out")]
        label = f"this pipeline, {threads} threads each" if threads else "this pipeline"
        return self.row(label, command, whole.environment(), whole.folder)

    def script(self, way: str, python: Path, name: str, work: Path) -> Row:
        """A peer's script, in its own environment."""
        command = [str(python), str(_SCRIPTS / name), str(work)]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder)}
        return self.row(way, command, environment, self.folder)

    def row(self, way: str, command: list[str], environment: dict[str, str], folder: Path) -> Row:
        self.sandbox.reset()
        began = time.time()
        cost = measure(command, folder, environment)
        seen = [one for one in self.sandbox.log() if one["status"] == 200]
        if len(seen) != self.inputs:
            msg = f"{way}: {len(seen)} answers to {self.inputs} questions"
            raise RuntimeError(msg)
        span = max(one["done"] for one in seen) - min(one["at"] for one in seen)
        return Row(way, cost, len(seen), min(one["epoch"] for one in seen) - began, span)


def peers(folder: Path | None) -> Iterator[tuple[str, Path, str]]:
    """(way, interpreter, script) of every peer whose environment is there; made if it is not."""
    for way, (script, package) in _PEERS.items():
        if folder is None:
            print(f"{way}: skipped, name a folder for its environment with --peers DIR")
            continue
        home = folder / package.partition("==")[0].partition("[")[0]
        if not (home / ".ready").exists() and not _make(home, package):
            print(f"{way}: skipped, {package} could not be installed in {home}")
            continue
        yield way, home / "bin" / "python", script


def _make(home: Path, package: str) -> bool:
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    quiet = [str(home / "bin" / "pip"), "install", "--quiet", package, "openai"]
    done = subprocess.run(quiet, check=False).returncode == 0
    if done:
        (home / ".ready").touch()
    return done


def _profiler(path: str | None) -> list[str]:
    if path is None:
        return []
    spy = Path(sys.executable).with_name("py-spy")
    options = ("--subprocesses", "--gil", "--rate", "100", "--format", "raw")
    return [str(spy), "record", *options, "--output", str(Path(path).absolute()), "--"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=64, help="of the others, in all")
    parser.add_argument("--threads", type=int, nargs="*", default=[], help="ours, also with these")
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--peers", type=Path, metavar="DIR", help="their virtual environments")
    parser.add_argument("--only-ours", action="store_true")
    parser.add_argument("--state", default="state", help="of ours: a folder, or a database")
    parser.add_argument(
        "--profile", metavar="FILE", help="ours alone under py-spy, collapsed stacks"
    )
    return parser.parse_args()


def main() -> None:
    """Run all ways, one after the other, and print the table."""
    options = _options()
    with (
        start_sandbox(latency=options.latency, log_limit=2 * options.inputs) as sandbox,
        tempfile.TemporaryDirectory() as folder,
    ):
        bench = Bench(Path(folder), sandbox, options.inputs, options.in_flight, options.state)
        write_inputs(bench.source, options.inputs)
        for row in _rows(bench, options):
            print(row, flush=True)
            if isinstance(row, Row) and len(row.cost.shares) > 1:
                print(f"  CPU s by process: {_rounded(row.cost.shares)}; MB: {row.cost.peaks}")


def _rounded(shares: dict[str, float]) -> dict[str, float]:
    return {kind: round(seconds, 1) for kind, seconds in shares.items()}


def _rows(bench: Bench, options: Any) -> Iterator[Row | str]:
    bench.warm_up()
    yield Row.head()
    yield bench.ours(None, _profiler(options.profile))
    if options.profile:
        return
    for threads in options.threads:
        yield bench.ours(threads, [])
    if options.only_ours:
        return
    work = bench.write_work()
    for way, script in _PLAIN.items():
        yield bench.script(way, Path(sys.executable), script, work)
    for way, python, script in peers(options.peers):
        yield bench.script(way, python, script, work)


if __name__ == "__main__":
    main()
