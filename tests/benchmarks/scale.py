"""
Time and memory at several sizes, three checks each, and a rerun that has nothing left to ask.

    python tests/benchmarks/scale.py                              # 1,000 and 10,000 inputs
    python tests/benchmarks/scale.py --sizes 1000 10000 100000    # 300,000 calls: 20 minutes

Memory is the largest VmHWM of a process, looked up five times a second, and of a shard also what no other
process shares with it. Merge and write are their task
runs' times by Prefect. The rerun writes to another folder, so all but the calls is done anew.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from whole_run import Cost, WholeRun, write_inputs

from deployments.sandbox import Sandbox, start_sandbox
from tasks.upstream.journal import open_journal

__all__ = ["main"]

_HEAD = (
    "inputs | calls | wall s | calls/s | CPU ms per call | first call s | parent MB | shard MB (its own) | "
    "server MB | merge s | write s | report s | journal B per call | rerun s | rerun calls"
)


@dataclass(frozen=True, slots=True)
class Size:
    """One size's run and rerun."""

    inputs: int
    whole: WholeRun
    began: float
    first: Cost
    again: Cost
    asked_again: int

    def row(self) -> str:
        """A line of the table."""
        calls = pq.read_table(
            self.whole.folder / "out" / "calls.parquet", columns=["started_at"]
        ).column(0)
        start = pc.min(calls).as_py() - self.began
        with open_journal(self.whole.folder / "state" / "journal.sqlite") as journal:
            each = journal.statistics()["bytes_per_reply"]
        first, peaks = self.first, self.first.peaks
        stages = _stages(self.whole.home)
        cells = (
            f"{self.inputs:,}",
            f"{len(calls):,}",
            f"{first.wall:.0f}",
            f"{len(calls) / first.wall:.0f}",
            f"{first.cpu / len(calls) * 1e3:.2f}",
            f"{start:.1f}",
            str(peaks.get("parent", 0)),
            f"{peaks.get('shard', 0)} ({first.private.get('shard', 0)})",
            str(peaks.get("server", 0)),
            *(f"{stages[name]:.1f}" for name in ("merge", "write", "report")),
            f"{each:.0f}",
            f"{self.again.wall:.0f}",
            str(self.asked_again),
        )
        return f"| {' | '.join(cells)} |"


def _stages(home: Path) -> dict[str, float]:
    """Seconds of the stages' latest task runs but the rerun's."""
    sql = (
        "SELECT name, (julianday(end_time) - julianday(start_time)) * 86400 FROM task_run "
        "WHERE end_time IS NOT NULL ORDER BY start_time"
    )
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        rows = database.execute(sql).fetchall()
    found: dict[str, list[float]] = {}
    for name, seconds in rows:
        found.setdefault(name.partition("-")[0], []).append(seconds)
    return {name: seconds[-2] for name, seconds in found.items() if len(seconds) > 1}


def measure_size(inputs: int, root: Path, sandbox: Sandbox, head: str) -> Size:
    """Run it, and run it again."""
    whole = WholeRun(root / f"run-{inputs}", sandbox, root / "prefect", checks=3, head=head)
    whole.prepare()
    source = root / f"{inputs}.jsonl"
    write_inputs(source, inputs)
    sandbox.reset()
    began = time.time()
    first = whole.run(source)
    asked = sandbox.stats()["requests"]
    again = whole.run(source, output="again")
    return Size(inputs, whole, began, first, again, sandbox.stats()["requests"] - asked)


def main() -> None:
    """Run all sizes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--head", default="", help="further settings of review.toml")
    options = parser.parse_args()
    with (
        start_sandbox(latency=options.latency, log_limit=0) as sandbox,
        tempfile.TemporaryDirectory() as folder,
    ):
        root = Path(folder)
        print(f"| {_HEAD} |\n|{'---|' * _HEAD.count('|')}---|", flush=True)
        for inputs in options.sizes:
            print(measure_size(inputs, root, sandbox, options.head).row(), flush=True)


if __name__ == "__main__":
    main()
