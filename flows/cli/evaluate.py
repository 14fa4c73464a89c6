"""The command that scores a finished run against its labels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as Grid

from flows.cli.finished import finished_run
from tasks.core.files import write_json
from tasks.core.paths import RunPaths
from tasks.finished.evaluate.comparison import compare_runs, comparison_table
from tasks.finished.evaluate.files import evaluate_run
from tasks.finished.evaluate.text import EvaluationTable, evaluation_tables, verdict

__all__ = ["print_scores"]

_WIDTH = 140
"""Columns that the widest table may take: figures are wrapped rather than cut off."""


def print_scores(place: str, figures: str | None, against: str | None = None) -> int:
    """Score the run at `place` and print its tables; `figures` is a file for the figures as JSON.

    `against` is another run of the same inputs, to compare it with. Returns the exit code. Needs no Prefect server: only the flow leaves an artifact.

    Raises:
        OutputError: no finished run, or it cannot be read or written.
        SourceError: no input of the run has labels and was reviewed, or none is in the other run.
    """
    with finished_run(place) as paths, _finished(against) as other:
        found = evaluate_run(paths)
        facts, tables = found.facts, evaluation_tables(found.result, reviewed=found.reviewed)
        if other is not None:
            compared, told = compare_runs(paths, other)
            facts = facts | {"against": told}
            tables = [*tables, comparison_table(compared, told)]
    if figures is not None:
        write_json(Path(figures), facts, indent=True)
    _show(tables)
    print(tables[-1].note if against else verdict(found.result))
    return 0


def _finished(place: str | None) -> AbstractContextManager[RunPaths | None]:
    return nullcontext() if place is None else finished_run(place)


def _show(tables: Sequence[EvaluationTable]) -> None:
    terminal = Console()
    console = Console(width=max(_WIDTH, terminal.width), markup=False)
    for one in tables:
        console.print(_grid(one))


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
