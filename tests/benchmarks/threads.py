"""
The default number of threads beside numbers set by hand, where latency and quota differ.

    python tests/benchmarks/threads.py              # all three situations: 12 runs, 7 minutes
    python tests/benchmarks/threads.py --only 2

What counts is the time from the first arrival of a call to the end of the last, as the sandbox saw
it; the default has to find its threads in that time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from whole_run import WholeRun, write_inputs

from deployments.sandbox import Sandbox, start_sandbox

__all__ = ["main"]


@dataclass(frozen=True, slots=True)
class Situation:
    """An endpoint, and what people might set for it."""

    name: str
    inputs: int
    latency: float
    quota: str
    by_hand: tuple[int, ...]
    """Threads per process."""
    margin: float = 0.1


SITUATIONS = (
    Situation("no quota, calls of 50 ms", 6000, 0.05, "[]", (16, 32, 64)),
    Situation("no quota, calls of 2 s", 12_000, 2.0, "[]", (128, 256, 512)),
    Situation("4 keys at 3/6s, calls of 4 s", 60, 4.0, '["3/6s"]', (2, 4, 12)),
)
"""The last one is 3/60s with calls of 40 s, ten times as fast."""


def span(situation: Situation, threads: int | None, root: Path, sandbox: Sandbox) -> float:
    """Seconds of calling."""
    head = f"margin = {situation.margin}\n" + (f"threads = {threads}" if threads else "")
    folder = root / f"{threads}"
    whole = WholeRun(folder, sandbox, root / "prefect", head=head, quota=situation.quota)
    whole.prepare()
    sandbox.reset()
    sandbox.control(latency=situation.latency, quota=json.loads(situation.quota))
    whole.run(root / "inputs.jsonl")
    seen = [one for one in sandbox.log() if one["status"] == 200]
    if len(seen) != situation.inputs:
        msg = f"{len(seen)} answers to {situation.inputs} questions"
        raise RuntimeError(msg)
    shutil.rmtree(folder)
    return float(max(one["done"] for one in seen) - min(one["at"] for one in seen))


def compare(situation: Situation, root: Path, sandbox: Sandbox) -> None:
    """Run the default and all by hand; print a row."""
    write_inputs(root / "inputs.jsonl", situation.inputs)
    ours = span(situation, None, root, sandbox)
    hand = {threads: span(situation, threads, root, sandbox) for threads in situation.by_hand}
    best = min(hand, key=lambda threads: hand[threads])
    others = ", ".join(f"{threads}: {seconds:.1f}" for threads, seconds in hand.items())
    print(
        f"| {situation.name} | {situation.inputs:,} | {ours:.1f} | {others} | {best} | "
        f"{hand[best] / ours:.0%} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--only", type=int, choices=range(1, 4), help="one situation")
    only = parser.parse_args().only
    print("| situation | calls | default s | s by threads per process | best | default reaches |")
    print("|---|---:|---:|---|---:|---:|")
    for number, situation in enumerate(SITUATIONS, 1):
        if only in (None, number):
            with (
                start_sandbox(log_limit=2 * situation.inputs) as sandbox,
                tempfile.TemporaryDirectory() as folder,
            ):
                compare(situation, Path(folder), sandbox)


if __name__ == "__main__":
    main()
