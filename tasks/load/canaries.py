"""
Canaries: labelled inputs drawn for a run and planted among its own.

    the draw       by a hash of the run's id and the canary's, so a run can be repeated and the next one
                   has others; defective and clean ones as in the file, and one injection where it has any
    their place    each gets an id beside that of an input of the run, so that they are spread over
                   the shards; no model is shown an id
    the record     `paths.planted` has each id among the inputs with that in the file
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.core.canary_settings import CANARY, CanarySettings
from tasks.core.errors import ConfigError, RowError, SourceError
from tasks.core.records import Input
from tasks.load.rows import read_input
from tasks.load.sources import read_source

__all__ = ["INJECTION", "Draw", "as_draw", "draw_canaries", "read_canaries"]

INJECTION = "injection"
"""Column of a canary whose code tells the reviewer to report nothing: true."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What a run draws, and from which file."""

    file: str
    wanted: int
    seed: str
    """The run's id."""


def as_draw(settings: CanarySettings | None, seed: str) -> Draw | None:
    """The draw that the settings ask for; None: none is planted."""
    return None if settings is None else Draw(settings.file, settings.per_night, seed)


def read_canaries(file: str) -> tuple[Input, ...]:
    """Every row of a file of canaries.

    Raises:
        ConfigError: the file cannot be read, or a row of it is no labelled input; names the remedy.
    """
    try:
        rows = [*read_source(file)] if Path(file).is_file() else None
    except SourceError as error:
        raise _refused(file, str(error)) from None
    if rows is None:
        raise _refused(file, "there is no such file")
    found: dict[str, Input] = {}
    for row in rows:
        item = _labelled(file, row.number, row.row)
        if item.input_id in found:
            raise _refused(file, f"row {row.number} has an earlier row's input_id or content")
        found[item.input_id] = item
    if not any(item.expected for item in found.values()):
        raise _refused(file, "no row has a defect in `expected`, so nothing could be found")
    return tuple(found.values())


def _labelled(file: str, number: int, row: object) -> Input:
    try:
        item = read_input(row)
    except RowError as error:
        raise _refused(file, f"row {number}: {error}") from None
    if item.expected is None:
        raise _refused(
            file, f"row {number} has no `expected`: a list of defects, [] for clean code"
        )
    return item


def _refused(file: str, why: str) -> ConfigError:
    return ConfigError(f"[canaries] file {file}: {why}; correct it, or take out the table")


def draw_canaries(
    canaries: Sequence[Input], draw: Draw, taken: Collection[str]
) -> Iterator[tuple[Input, str]]:
    """The canaries of a run as its inputs, each with its id in the file.

    `taken` are the ids of the run's own inputs; without any there is nothing to plant among.
    """
    hosts = sorted(taken)
    for canary in _chosen(canaries, draw) if hosts else ():
        name = _rank(draw.seed, canary)
        host = hosts[int(name[:16], 16) % len(hosts)]
        planted = f"{host} {name[-12:]}"
        while planted in taken:
            planted += "+"
        marked = replace(canary, input_id=planted, extra={**canary.extra, CANARY: True})
        yield marked, canary.input_id


def _chosen(canaries: Sequence[Input], draw: Draw) -> list[Input]:
    ranked = sorted(canaries, key=lambda one: _rank(draw.seed, one))
    defective = [one for one in ranked if one.expected]
    clean = [one for one in ranked if not one.expected]
    # The sort is stable: the first injection comes to the front, all others stay where they are.
    first = next((one for one in defective if one.extra.get(INJECTION)), None)
    defective.sort(key=lambda one: one is not first)
    wanted = min(draw.wanted, len(ranked))
    of_clean = round(wanted * len(clean) / len(ranked))
    of_clean = min(max(of_clean, wanted - len(defective)), wanted - 1)
    return defective[: wanted - of_clean] + clean[:of_clean]


def _rank(seed: str, canary: Input) -> str:
    return hashlib.sha256(f"{seed}\0{canary.input_id}".encode()).hexdigest()
