"""
What a run costs that has hardly a call to make, and how soon the first call of a large one leaves.

    python tests/benchmarks/start.py                    # 1, 20 and 10,000 inputs, one check each
    python tests/benchmarks/start.py --repeat 3

The first run on a machine creates Prefect's database, which is measured as a row of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from whole_run import WholeRun, write_inputs

from deployments.sandbox import Sandbox, start_sandbox

__all__ = ["main"]

_KINDS = ("parent", "server", "fork server", "shard", "other")
_HEAD = "run | inputs | wall s | first call s | last reply to exit s | CPU s | of it " + ", ".join(
    _KINDS
)


def _row(what: str, inputs: int, whole: WholeRun, root: Path) -> str:
    source = root / f"{inputs}.jsonl"
    if not source.exists():
        write_inputs(source, inputs)
    whole.prepare()
    began = time.time()
    # An installed command has its bytecode, however this shell is set.
    cost = whole.run(source, "{run_id}", PYTHONDONTWRITEBYTECODE="")
    ended = began + cost.wall
    (output,) = [one.parent for one in whole.folder.glob("*/calls.parquet")]
    started = pq.read_table(output / "calls.parquet", columns=["started_at", "latency_ms"])
    first, last = pc.min_max(started["started_at"]).values()
    cells = (
        what,
        f"{inputs:,}",
        f"{cost.wall:.1f}",
        f"{first.as_py() - began:.1f}",
        f"{ended - last.as_py():.1f}",
        f"{cost.cpu:.1f}",
        *(f"{cost.shares.get(kind, 0.0):.1f}" for kind in _KINDS),
    )
    return f"| {' | '.join(cells)} |"


def _measure(sandbox: Sandbox, root: Path, sizes: list[int], repeat: int) -> None:
    print(f"| {_HEAD.replace(', ', ' | ')} |\n|{'---|' * (7 + len(_KINDS) - 1)}", flush=True)
    runs = [("first on a machine", sizes[0])]
    runs += [("any later one", size) for size in sizes for _ in range(repeat)]
    for number, (what, inputs) in enumerate(runs):
        sandbox.reset()
        whole = WholeRun(root / str(number), sandbox, root / "prefect")
        print(_row(what, inputs, whole, root), flush=True)


def main() -> None:
    """Run all of them and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 20, 10_000])
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    with (
        start_sandbox(latency=0.05, log_limit=0) as sandbox,
        tempfile.TemporaryDirectory() as folder,
    ):
        _measure(sandbox, Path(folder), options.sizes, options.repeat)


if __name__ == "__main__":
    main()
