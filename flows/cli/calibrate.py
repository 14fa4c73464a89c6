"""The command that chooses the thresholds of [policy] by labels."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from flows.cli.finished import finished_run
from tasks.core.files import atomic
from tasks.core.locations import is_url
from tasks.core.paths import RunPaths
from tasks.core.policy_settings import Policy
from tasks.finished.calibrate.calibration import Calibration, calibrate
from tasks.finished.calibrate.text import (
    CURVE_HEAD,
    HALF_HEAD,
    curve_rows,
    half_rows,
    notes,
    policy_toml,
    with_policy,
)

__all__ = ["calibrate_command"]

_WIDTH = 110
"""Columns that the widest table takes."""


def calibrate_command(places: Sequence[str], precision: float, target: str | None) -> int:
    """Print the policy that the labels of the runs at `places` ask for; returns the exit code.

    `target` is a file to write the table to, in place of the one that it has.

    Raises:
        OutputError: one is no finished run, or `target` cannot be written.
        SourceError: there is nothing to choose by.
        ConfigError: `target` is not TOML.
    """
    with ExitStack() as stack:
        runs = [
            stack.enter_context(finished_run(one, also=["canaries.jsonl"]))
            for one in _finished(places)
        ]
        found = calibrate(runs, precision)
    _show(found)
    if found.then is None:
        return 3
    print(f"\n{policy_toml(found.then)}", end="")
    if target is not None:
        _write(Path(target), found.then)
        print(f"\nwritten to {target}")
    return 0


def _finished(places: Sequence[str]) -> Sequence[str]:
    """Of several places those that a run has finished in: a pattern names one at work as well."""
    if len(places) == 1:
        return places
    left_out = [
        one for one in places if not is_url(one) and not RunPaths(Path(one)).manifest.exists()
    ]
    for one in left_out:
        print(f"note: {one} has no finished run and is left out", file=sys.stderr)
    return [one for one in places if one not in left_out] or places


def _write(path: Path, policy: Policy) -> None:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    changed = with_policy(text, policy, str(path))
    with atomic(path) as file:
        file.write(changed.encode())


def _show(found: Calibration) -> None:
    console = Console(width=max(_WIDTH, Console().width), markup=False)
    share = f"{found.precision:.0%}"
    console.print(_grid("One threshold for all", CURVE_HEAD, curve_rows(found)))
    console.print(_grid(f"Thresholds for a precision of {share}", HALF_HEAD, half_rows(found)))
    for line in notes(found):
        print(line)


def _grid(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    grid = Table(title=title, title_justify="left", box=box.SIMPLE)
    for name in head:
        grid.add_column(name, justify="left" if name in {"inputs", "policy"} else "right")
    for row in rows:
        grid.add_row(*row)
    return grid
