"""
What a run costs Prefect: task runs, rows and bytes of its database, artifact updates.

    python tests/benchmarks/prefect_cost.py --inputs 2000 --checks 1

A real server on a database of its own; a first small run makes the database and is not counted. The
slices of 10,000 inputs are arithmetic and counted in tests/infer/test_slices.py.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from whole_run import WholeRun, write_inputs

from deployments.sandbox import start_sandbox
from tasks.infer.slices import guided
from tasks.shard.task import default_shards

__all__ = ["main"]

_TABLES = ("flow_run", "task_run", "task_run_state", "artifact", "log", "events")
_STAGES = 5


def _sizes(home: Path) -> dict[str, int]:
    """Rows per table, and bytes of the database without what waits in its log."""
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        size = database.execute("PRAGMA page_size").fetchone()[0]
        counts = {t: database.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in _TABLES}
    return counts | {"bytes": pages * size}


def task_runs(inputs: int, processes: int, threads: int) -> int:
    """Task runs of a run in which nothing is retried: stages, shards and slices."""
    shards = default_shards(inputs, processes)
    return _STAGES + shards + shards * len(guided(-(-inputs // shards), threads))


def _show(spent: Mapping[str, int], inputs: int, seconds: float) -> None:
    print(f"{inputs:,} inputs in {seconds:.0f} s:")
    for name, count in spent.items():
        print(f"  {name:15} {count:>12,}")
    expected = task_runs(10_000, 2, 128)
    each = spent["bytes"] / max(1, spent["task_run"])
    print(f"  bytes of database per task run {each:,.0f}")
    print(f"10,000 inputs: {expected} task runs, {expected * each / 1e6:.1f} MB at this rate")


def main() -> None:
    """Run, and print what the run added."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--checks", type=int, default=1)
    options = parser.parse_args()
    with start_sandbox(latency=0.01) as sandbox, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        whole = WholeRun(root / "run", sandbox, home=root / "prefect", checks=options.checks)
        whole.prepare()
        for name, count in (("few", 4), ("many", options.inputs)):
            write_inputs(root / f"{name}.jsonl", count)
            before = _sizes(whole.home) if name == "many" else {}
            cost = whole.run(root / f"{name}.jsonl", output=name)
        after = _sizes(whole.home)
    spent = {name: after[name] - before[name] for name in after}
    _show(spent, options.inputs, cost.wall)


if __name__ == "__main__":
    main()
