"""The command that scores a finished run against its labels."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as Grid

from tasks.core.errors import ReviewError
from tasks.core.files import write_json
from tasks.core.paths import RunPaths
from tasks.finished.evaluate.files import Evaluated, evaluate_run
from tasks.finished.evaluate.text import EvaluationTable, evaluation_tables, verdict

__all__ = ["main"]

_EXAMPLES = """\
examples:
  python -m flows.evaluate data/runs/tonight
  python -m flows.evaluate data/runs/tonight --json scores.json

Labels are the field `expected` of the source's rows: a list of defects, [] for known clean.
Writes evaluation.json and evaluation.md into DIR; asks no model.
exit code: 0 scored; 2 DIR is no finished run, or none of its inputs has labels
"""

_WIDTH = 140
"""Columns that the widest table may take: figures are wrapped rather than cut off."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.evaluate",
        description="Score a finished run against the labels of its inputs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="DIR", help="output folder of a finished run")
    parser.add_argument("--json", metavar="FILE", help="write the figures here as well")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code. Needs no Prefect server: only the flow leaves an artifact."""
    arguments = _parser().parse_args(argv)
    try:
        found = evaluate_run(RunPaths(Path(arguments.folder)))
        if arguments.json is not None:
            write_json(Path(arguments.json), found.facts, indent=True)
    except ReviewError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    _show(found)
    return 0


def _show(found: Evaluated) -> None:
    terminal = Console()
    console = Console(width=max(_WIDTH, terminal.width))
    for one in evaluation_tables(found.result, reviewed=found.reviewed):
        console.print(_grid(one))
    print(verdict(found.result))


def _grid(table: EvaluationTable) -> Grid:
    grid = Grid(title=table.title, title_justify="left", box=box.SIMPLE)
    for place, name in enumerate(table.head):
        grid.add_column(name, justify="left" if place == 0 else "right", no_wrap=True)
    for row in table.rows:
        grid.add_row(*map(_cell, row))
    return grid


def _cell(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) else str(value)
