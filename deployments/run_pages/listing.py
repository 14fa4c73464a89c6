"""Finished runs below a folder, as the listing page shows them. Reads manifests, and nothing of Prefect."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.core.files import read_json
from tasks.core.manifest import ended_well
from tasks.core.records import SEVERITIES

__all__ = ["RunRow", "Trend", "read_runs", "trends_of"]

_DEEPEST = 3
"""Folders below the root in which a run is looked for."""
_MOST = 500
"""Newest runs that are listed."""
_REVIEWED = ("complete", "in_part", "skipped")


@dataclass(frozen=True, slots=True)
class RunRow:
    """One finished run."""

    folder: str
    """Relative to the root, with slashes."""
    started: datetime
    source: str
    source_key: str
    result: str
    state: str
    """good, fair or bad."""
    findings: Mapping[str, int]
    """By severity."""
    new: int | None
    """Findings that the run before did not have; None: there was none."""
    cost: float | None
    """US dollars; None: unknown."""
    cost_is_whole: bool
    coverage: float
    """Share of the inputs that were reviewed as planned, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Trend:
    """The runs of one source, oldest first."""

    source: str
    runs: tuple[RunRow, ...]


def read_runs(root: Path) -> list[RunRow]:
    """The newest runs below `root` first; what is no finished run is passed over."""
    found = (_row(folder, root) for folder in _folders(root, _DEEPEST))
    runs = sorted((one for one in found if one), key=lambda one: one.started, reverse=True)
    return runs[:_MOST]


def trends_of(runs: Sequence[RunRow]) -> list[Trend]:
    """Sources with two runs and more, those of the newest run first."""
    by_source: dict[str, list[RunRow]] = {}
    for run in runs:
        by_source.setdefault(run.source_key, []).append(run)
    return [
        Trend(some[0].source, tuple(reversed(some))) for some in by_source.values() if len(some) > 1
    ]


def _folders(folder: Path, deepest: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            below = [Path(one.path) for one in entries if one.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for one in below:
        if one.name.startswith("."):
            continue
        if (one / "manifest.json").is_file():
            yield one
        elif deepest > 1:
            yield from _folders(one, deepest - 1)


def _row(folder: Path, root: Path) -> RunRow | None:
    # Whoever may write here may write anything: one odd manifest must not take the others along.
    try:
        manifest = read_json(folder / "manifest.json")
        return _parsed(manifest, folder.relative_to(root).as_posix())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _parsed(manifest: Any, folder: str) -> RunRow:
    figures, counts = manifest["figures"], manifest["counts"]
    severities = figures["severities"]
    reviewed = sum(counts["coverage"].get(name, 0) for name in _REVIEWED)
    return RunRow(
        folder=folder,
        started=datetime.fromisoformat(manifest["started_at"]).astimezone(),
        source=str(manifest["source"]),
        source_key=str(manifest.get("source_key", manifest["source"])),
        result=str(manifest["result"]),
        state="good" if manifest["complete"] and ended_well(manifest) else _gaps(manifest),
        findings={one: sum(severities.get(one, {}).values()) for one in SEVERITIES},
        new=_new(manifest),
        cost=_cost(figures),
        cost_is_whole=not figures.get("cost_gap"),
        coverage=reviewed / counts["inputs"] if counts["inputs"] else 1.0,
    )


def _gaps(manifest: Mapping[str, Any]) -> str:
    return "fair" if ended_well(manifest) else "bad"


def _new(manifest: Mapping[str, Any]) -> int | None:
    history = manifest.get("history")
    return None if history is None else int(history["new"])


def _cost(figures: Mapping[str, Any]) -> float | None:
    """Nothing was sent: it cost nothing, and is not unknown."""
    cost = figures.get("cost_usd")
    return 0.0 if cost is None and not figures.get("cost_gap") else cost
