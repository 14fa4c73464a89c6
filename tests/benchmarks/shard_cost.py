"""
What a call costs in a shard's process, without Prefect, and how many processes the cores carry.

    python tests/benchmarks/shard_cost.py [--inputs 6000] [--processes 1 2 4] [--latency 0.05]
    python tests/benchmarks/shard_cost.py --pin    # each process on a core of its own, in turn

Everything between a stored input and its line of the part is in it: prompts, token counts, journal,
quota, the attempt, reading, anchors, clusters, records, threads. Imports and starts are not. The
inputs are shared out among the processes, which have one journal and one ledger; the sandbox is
another process on the same cores. CPU is that of the shards' processes.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr
from whole_run import write_inputs

from deployments.sandbox import Sandbox, start_sandbox
from tasks.core.paths import RunPaths
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.infer.shard_worker import open_shard_worker
from tasks.infer.slices import AT_ONCE, guided
from tasks.infer.thread_count import default_threads
from tasks.load.rows import read_input

KEYS = 4


@dataclass(frozen=True, slots=True)
class Spent:
    """What one process took for its calls; times in seconds."""

    calls: int
    cpu: float
    begun: float
    ended: float


def work(folder: Path, number: int, ready: Barrier, results: Any, *, pin: bool) -> None:
    """Review a shard's inputs in this process."""
    if pin:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})
    shard = RunPaths(folder).shard(number)
    keys = {f"a{n}": SecretStr(f"key-of-a{n}") for n in range(KEYS)}
    log = logging.getLogger("shard_cost")
    threads = Run.read(shard.settings).threads
    with (
        open_shard_worker(shard, keys, log, threading.Event()) as worker,
        ThreadPoolExecutor(AT_ONCE) as slices,
    ):
        ready.wait()
        begun, cpu = time.monotonic(), time.process_time()
        ranges = guided(worker.inputs, threads)
        list(slices.map(lambda one: worker.review_slice(*one), ranges))
        calls = worker.progress.snapshot().calls
        results.put(Spent(calls, time.process_time() - cpu, begun, time.monotonic()))


def prepare(folder: Path, sandbox: Sandbox, options: argparse.Namespace, processes: int) -> None:
    """A run's folder with its inputs shared out among that many shards."""
    checks = "".join(
        f'[[check]]\nname = "c{n}"\nmodel = "check-{n}"\n' for n in range(options.checks)
    )
    keys = "".join(
        f'[app_ids.a{n}]\nkey = "env:K"\nbase_url = "{sandbox.base_url}"\nquota = {options.quota}\n'
        for n in range(KEYS)
    )
    review = '[review]\nmodel = "review-0"\n' if options.review else ""
    mode = "check+review" if options.review else "check"
    settings = load_settings(f'mode = "{mode}"\n{keys}{checks}{review}')
    source = folder / "inputs.jsonl"
    write_inputs(source, options.inputs)
    rows = [orjson.dumps(read_input(orjson.loads(row))) + b"\n" for row in source.open("rb")]
    for number in range(processes):
        shard = RunPaths(folder / "run").shard(number)
        shard.root.mkdir(parents=True)
        shard.inputs.write_bytes(b"".join(rows[number::processes]))
    threads = options.threads or default_threads(settings.pool)
    run = Run(f"run-{processes}", settings, str(folder / "state"), threads)
    run.write(shard.settings)


def measure(sandbox: Sandbox, options: argparse.Namespace, processes: int) -> str:
    """A row of the table."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(processes), context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), sandbox, options, processes)
        arguments = [(Path(folder) / "run", number, ready, results) for number in range(processes)]
        pin = {"pin": options.pin}
        started = [context.Process(target=work, args=one, kwargs=pin) for one in arguments]
        for one in started:
            one.start()
        spent: list[Spent] = [results.get() for _ in started]
        for one in started:
            one.join()
    calls = sum(one.calls for one in spent)
    wall = max(one.ended for one in spent) - min(one.begun for one in spent)
    cpu = sum(one.cpu for one in spent)
    return f"| {processes} | {calls:,} | {calls / wall:.0f} | {cpu / calls * 1e3:.2f} | {cpu / wall:.2f} |"


def main() -> None:
    """Run with each number of processes, one after the other, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--inputs", type=int, default=6000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--checks", type=int, default=1)
    parser.add_argument("--review", action="store_true")
    parser.add_argument("--threads", type=int, help="of each process; else as a run has them")
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--quota", default="[]")
    parser.add_argument("--pin", action="store_true", help="each process keeps to one core")
    options = parser.parse_args()
    print("| processes | calls | calls/s | CPU ms per call | cores |\n|---|---|---|---|---|")
    with start_sandbox(latency=options.latency) as sandbox:
        for processes in options.processes:
            print(measure(sandbox, options, processes), flush=True)


if __name__ == "__main__":
    main()
