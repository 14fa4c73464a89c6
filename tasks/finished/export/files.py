"""A finished run -> the files that other tools open, each appearing whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.core.files import atomic, sha256
from tasks.core.manifest import RunFacts
from tasks.core.paths import RunPaths
from tasks.finished.derived import recording
from tasks.finished.export import EXPORTS, Export
from tasks.finished.export.github import MOST_COMMENTS
from tasks.outputs.findings import read_carried, read_findings
from tasks.outputs.schemas import Output
from tasks.outputs.tables import read_entry_lines
from tasks.review.findings.findings import Findings, in_repository

__all__ = ["export_run"]


def export_run(
    root: Path,
    formats: Sequence[str],
    manifest: RunFacts | None = None,
    *,
    comments: int = MOST_COMMENTS,
) -> list[Output]:
    """Write `formats` (names of EXPORTS) beside the outputs of the run in `root`, and record them.

    `comments` is the most that a review on a pull request has at lines. `manifest` is for a run that has not written its own yet; then nothing is recorded. Memory does not grow with the run,
    but for one fingerprint per finding.

    Raises:
        OutputError: not a finished run, or the folder cannot be written.
    """
    paths, exports = RunPaths(root), [EXPORTS[name] for name in formats]
    if manifest is not None:
        return [_write(paths, manifest, one, comments) for one in exports]
    with recording(paths, [one.file for one in exports]) as facts:
        return [_write(paths, facts, one, comments) for one in exports]


def _write(paths: RunPaths, facts: RunFacts, export: Export, comments: int) -> Output:
    target, counted = paths.root / export.file, _Counted()
    more: tuple[Any, ...] = (read_carried(paths),) if export.carries else ()
    more += (read_entry_lines(paths), comments) if export.shows_diff else ()
    with atomic(target) as file:
        for piece in export.pieces(facts, counted.over(read_findings(paths)), *more):
            file.write(piece)
    return Output(export.file, counted.rows, target.stat().st_size, sha256(target))


class _Counted:
    """Counts the findings that pass, and names their repositories where there are several."""

    def __init__(self) -> None:
        self.rows = 0

    def over(self, inputs: Iterable[Findings]) -> Iterator[Findings]:
        for findings in inputs:
            self.rows += len(findings.shown)
            yield in_repository(findings)
