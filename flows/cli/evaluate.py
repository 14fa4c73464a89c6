"""The command that scores a finished run against its labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as Grid

from flows.cli.finished import finished_run
from tasks.core.files import write_json
from tasks.finished.evaluate.files import Evaluated, evaluate_run
from tasks.finished.evaluate.text import EvaluationTable, evaluation_tables, verdict

__all__ = ["print_scores"]

_WIDTH = 140
"""Columns that the widest table may take: figures are wrapped rather than cut off."""


def print_scores(place: str, figures: str | None) -> int:
    """Score the run at `place` and print its tables; `figures` is a file for the figures as JSON.

    Returns the exit code. Needs no Prefect server: only the flow leaves an artifact.

    Raises:
        OutputError: no finished run, or it cannot be read or written.
        SourceError: no input of the run has labels and was reviewed.
    """
    with finished_run(place) as paths:
        found = evaluate_run(paths)
    if figures is not None:
        write_json(Path(figures), found.facts, indent=True)
    _show(found)
    return 0


def _show(found: Evaluated) -> None:
    terminal = Console()
    console = Console(width=max(_WIDTH, terminal.width), markup=False)
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
