"""
Runs that are old enough to go, in a folder of runs as data/runs.

    looked at   folders with a manifest of ours, and those of killed runs, which have no outputs
    kept        what a later run of the same source is compared with: its newest run that reviewed
                something, and its newest complete one
    left alone  a folder at work, one with files that are not ours, links, and everything else

The journal keeps every answer: a run that was removed can be made again without a call.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError
from tasks.core.files import hold_folder, output_errors, read_json
from tasks.core.paths import RunPaths

__all__ = ["OldRun", "old_runs", "remove_run"]

_REVIEWED = ("complete", "in_part", "partial")


@dataclass(frozen=True, slots=True)
class OldRun:
    """A run that started before a given instant."""

    folder: Path
    run_id: str
    started: datetime
    """UTC; of a run that did not end, when its folder last changed."""
    size: int
    """Bytes of its files."""
    kept: str | None = None
    """Why it stays; None: it may go."""


@dataclass(frozen=True, slots=True)
class _Run:
    paths: RunPaths
    run_id: str
    started: datetime
    source_key: str
    complete: bool
    compared: bool
    """Whether a later run may be compared with it."""


def old_runs(root: Path, before: datetime) -> list[OldRun]:
    """The runs in `root` that started before an instant, oldest first; nothing is removed.

    Raises:
        ConfigError: `root` is no folder.
    """
    if not root.is_dir():
        msg = f"{root} is no folder: name the one that has the runs"
        raise ConfigError(msg)
    folders = [one for one in sorted(root.iterdir()) if one.is_dir() and not one.is_symlink()]
    ended = [run for one in folders if (run := _ended(RunPaths(one))) is not None]
    baselines = _baselines(ended)
    unfinished = [run for one in folders if (run := _unfinished(RunPaths(one))) is not None]
    found = [one for one in (*ended, *unfinished) if one.started < before]
    return [_old(one, baselines) for one in sorted(found, key=lambda one: one.started)]


def remove_run(run: OldRun) -> None:
    """Remove the folder of a run, its manifest first: what is left of half a removal is no run.

    Raises:
        OutputError: another run is writing there, or it cannot be removed.
    """
    paths = RunPaths(run.folder)
    with hold_folder(paths.root, paths.lock), output_errors(paths.root):
        paths.manifest.unlink(missing_ok=True)
        shutil.rmtree(paths.root)


def _old(run: _Run, baselines: dict[Path, str]) -> OldRun:
    root = run.paths.root
    kept = baselines.get(root) or _foreign(run.paths)
    size = sum(one.lstat().st_size for one in root.rglob("*") if not one.is_dir())
    return OldRun(root, run.run_id, run.started, size, kept)


def _foreign(paths: RunPaths) -> str | None:
    others = paths.foreign_files(one.name for one in paths.root.iterdir())
    return f"has files that are not of a run: {', '.join(others[:3])}" if others else None


def _baselines(runs: Iterable[_Run]) -> dict[Path, str]:
    """Folders that later runs need, with the reason."""
    found: dict[Path, str] = {}
    wanted: tuple[tuple[str, Callable[[_Run], bool]], ...] = (
        ("the newest complete run of its source", lambda one: one.complete),
        ("the next run of its source is compared with it", lambda one: one.compared),
        ("the newest whole run of its source", lambda one: one.complete and one.compared),
    )
    for why, fits in wanted:
        for folder in _newest(filter(fits, runs)):
            found.setdefault(folder, why)
    return found


def _newest(runs: Iterable[_Run]) -> Iterator[Path]:
    newest: dict[str, _Run] = {}
    for one in runs:
        if one.source_key not in newest or newest[one.source_key].started < one.started:
            newest[one.source_key] = one
    return (one.paths.root for one in newest.values())


def _ended(paths: RunPaths) -> _Run | None:
    """The run that has ended here; None: there is no manifest of ours, or a damaged one."""
    manifest = read_json(paths.manifest)
    try:
        coverage = manifest["counts"]["coverage"]
        return _Run(
            paths,
            manifest["run_id"],
            datetime.fromisoformat(manifest["started_at"]).astimezone(UTC),
            manifest.get("source_key") or manifest["source"],
            bool(manifest["complete"]),
            manifest.get("limit") is None and any(coverage.get(name, 0) for name in _REVIEWED),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _unfinished(paths: RunPaths) -> _Run | None:
    """The run that was killed here before it had outputs; None: it ended, or was never ours."""
    if paths.manifest.exists() or not paths.lock.exists():
        return None
    found: list[Any] = [one.stat() for one in (paths.root, *paths.root.iterdir()) if one.exists()]
    changed = datetime.fromtimestamp(max(one.st_mtime for one in found), UTC)
    return _Run(paths, paths.root.name, changed, "", complete=False, compared=False)
