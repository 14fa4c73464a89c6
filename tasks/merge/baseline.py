"""
The baseline of a run's findings: an earlier run to compare with, and known false positives.

The earlier run is the one that `previous` names, or the newest finished one of the same source among
the folders beside this run's output, by the instant that each started at. The folders themselves are the record: one that was removed or
moved away is no longer compared with. A run of a part (--limit), and one that reviewed nothing, are
passed over; one with gaps is not, what it showed is known. A damaged one is passed over with a line in the log.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator
from datetime import datetime
from heapq import nsmallest
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson

from tasks.core.errors import ConfigError, OutputError, SourceError
from tasks.core.files import atomic, read_json
from tasks.core.git_source import GIT_PREFIX, parse_git_source, split_sources
from tasks.core.locations import is_url
from tasks.core.manifest import GoneFinding, HistoryFacts
from tasks.core.paths import RunPaths
from tasks.core.records import Row
from tasks.outputs.fetch import fetch_outputs
from tasks.outputs.findings import read_carried, read_findings
from tasks.outputs.tables import read_manifest, read_reviews
from tasks.review.findings.findings import with_repository, worst_first
from tasks.review.findings.history import (
    HistoryComparison,
    carried_findings,
    carried_name,
    earlier_findings,
)
from tasks.review.findings.suppressions import read_suppressions

__all__ = [
    "Baseline",
    "close_comparison",
    "find_baseline",
    "find_previous",
    "is_reviewed",
    "load_suppressions",
    "source_key",
    "start_comparison",
]

_Log = logging.Logger | logging.LoggerAdapter[Any]

SUPPRESSIONS = "suppressions.jsonl"
_LISTED = 100
"""Findings that are gone and described in the manifest, the worst ones."""

_COLUMNS = (
    "input_id",
    "kind",
    "extra",
    *(
        f"comments.list.element.{name}"
        for name in ("fingerprint", "path", "outcome", "cluster_id", "existing_code", "since")
    ),
)
_FETCHED = ("reviews.parquet", "comments.parquet", "carried.jsonl")
_DAMAGED = (OutputError, KeyError, TypeError, ValueError)


class Baseline(NamedTuple):
    """False positives and an earlier run, both known before a run has findings of its own."""

    suppressions: dict[str, str]
    """Reasons by fingerprint, of known false positives."""
    earlier: RunPaths | None
    """The run to compare with; None: there is none."""
    folder: Path | None = None
    """The source where it is a folder: a finding in a file that it has no more is gone."""


def find_baseline(
    suppressions: str | None, previous: str | None, source: str, output: RunPaths, log: _Log
) -> Baseline:
    """The baseline of a run into `output`; raises as `load_suppressions` and `find_previous` do."""
    folder = None if source.startswith(GIT_PREFIX) else Path(source)
    return Baseline(
        load_suppressions(suppressions, source, log),
        find_previous(previous, source, output, log),
        folder if folder is not None and folder.is_dir() else None,
    )


def is_reviewed(path: Path, source: str) -> bool:
    """Whether `path` lies in the checkout or folder that SOURCE reviews.

    What is there was written by those whose code is under review.
    """
    several = split_sources(source)
    if len(several) > 1:
        return any(is_reviewed(path, one) for one in several)
    text = source.removeprefix(GIT_PREFIX)
    try:
        given = Path(parse_git_source(source).folder if text != source else text).resolve()
    except SourceError:
        return False  # the load stage says what is wrong with it
    if not given.is_dir():
        return False
    upwards = (given, *given.parents) if text != source else ()
    reviewed = next((one for one in upwards if (one / ".git").exists()), given)
    # Neither a link into the checkout nor one out of it makes a file trustworthy.
    seen = Path(os.path.normpath(path.absolute()))
    return path.resolve().is_relative_to(reviewed) or seen.is_relative_to(reviewed)


def source_key(source: str) -> str:
    """The part of SOURCE that stays the same from run to run.

    The path of a file or folder. Of a repository its path and whether a range or a time was asked
    for, not which: `git:.@v1..main` follows `git:.@v1..dev`, and not `git:.@since=24h`. Of several
    repositories all of them, in any order.
    """
    if not source.startswith(GIT_PREFIX):
        return str(Path(source).resolve())
    if len(several := split_sources(source)) > 1:
        return " ".join(sorted(map(source_key, several)))
    try:
        asked = parse_git_source(source)
    except SourceError:
        return source  # the load stage says what is wrong with it
    form = "since" if asked.wanted.startswith("since=") else "range"
    return f"{GIT_PREFIX}{Path(asked.folder).resolve()}@{form}"


def find_previous(named: str | None, source: str, output: RunPaths, log: _Log) -> RunPaths | None:
    """The run to compare with; None when there is none.

    Raises:
        OutputError: `named` is not the folder or URL of a finished run.
    """
    if named is not None and is_url(named):
        return fetch_outputs(named.rstrip("/"), output.previous, _FETCHED)
    if named is not None:
        paths = RunPaths(Path(named).absolute())
        read_manifest(paths)
        return paths
    key = source_key(source)
    others = (one for one in output.root.parent.glob("*/manifest.json") if one != output.manifest)
    found = [(start, one) for one in others if (start := _started(one, key, log)) is not None]
    # Not the file's own time, which a copy, a restore or a new decision changes.
    newest_first = (RunPaths(one.parent) for _, one in sorted(found, reverse=True))
    return next((paths for paths in newest_first if _is_readable(paths, log)), None)


def _started(path: Path, key: str, log: _Log) -> datetime | None:
    """When the run of this manifest started; None: it is damaged, or of another source, or a part."""
    manifest = read_json(path)
    try:
        if manifest.get("source_key") != key or manifest.get("limit") is not None:
            return None
        coverage = manifest["counts"]["coverage"]
        reviewed = sum(coverage.get(name, 0) for name in ("complete", "in_part", "partial"))
        return datetime.fromisoformat(manifest["started_at"]) if reviewed else None
    except (AttributeError, *_DAMAGED):
        log.warning("%s is damaged: that run is not compared with", path)
        return None


def _is_readable(paths: RunPaths, log: _Log) -> bool:
    try:
        next(read_reviews(paths, _COLUMNS), None)
        next(read_findings(paths), None)
    except _DAMAGED as error:
        log.warning("%s is damaged, that run is not compared with: %s", paths.root, error)
        return False
    return True


def start_comparison(earlier: RunPaths | None, log: _Log) -> HistoryComparison | None:
    """A comparison that the run's inputs are added to; None without an earlier run."""
    if earlier is None:
        return None
    try:
        carried = dict(map(carried_findings, read_carried(earlier)))
        reviews = read_reviews(earlier, _COLUMNS)
        shown = {name: one for row in reviews for name, one in earlier_findings(row)}
        return HistoryComparison(carried | shown, read_manifest(earlier)["started_at"])
    except _DAMAGED as error:
        # This run's answers are paid for: they are not given up for a folder that is gone by now.
        log.warning("no comparison with the earlier run: %s", error)
        return None


def close_comparison(
    baseline: Baseline, comparison: HistoryComparison | None, paths: RunPaths, log: _Log
) -> HistoryFacts | None:
    """The comparison for the manifest: counts of findings, and the worst of those that are gone.

    What is neither raised, nor reviewed, nor in a file that is gone is stored in `paths.carried`.
    """
    earlier = baseline.earlier
    if earlier is None or comparison is None:
        return None
    try:
        for path in _gone_files(baseline, comparison, paths):
            comparison.leave(path)
        worst = _worst_gone(earlier, comparison.gone)
        before = read_manifest(earlier)
        run_id = before["run_id"]
        _carry(earlier, comparison.unknown, before["started_at"], paths)
    except _DAMAGED as error:
        log.warning("the comparison with the earlier run is left out: %s", error)
        return None
    # A comparison counts by the names that HistoryFacts has.
    counts = comparison.counts()
    history = {"run_id": run_id, "folder": earlier.place, **counts, "worst_gone": worst}
    return cast("HistoryFacts", history)


def _gone_files(
    baseline: Baseline, comparison: HistoryComparison, paths: RunPaths
) -> Iterator[str]:
    """Files with findings that were deleted in this range, or that the folder has no more."""
    if baseline.folder is not None:
        yield from (one for one in comparison.files if not (baseline.folder / one).exists())
    if paths.rejected.exists():
        with paths.rejected.open("rb") as file:
            rows = map(orjson.loads, file)
            yield from (one["snippet"] for one in rows if one["reason"] == "deleted")


def _shown(paths: RunPaths) -> Iterator[tuple[str, Row]]:
    """Every finding that a run showed or carried along, by the name that a comparison gives it."""
    for found in read_findings(paths):
        yield from ((one["cluster_id"], {**one, "kind": found.kind}) for one in found.shown)
    yield from ((carried_name(one), one) for one in read_carried(paths))


def _carry(earlier: RunPaths, unknown: Collection[str], started: str, paths: RunPaths) -> None:
    kept = [
        {**one, "since": one.get("since") or started}
        for name, one in _shown(earlier)
        if name in unknown
    ]
    if kept:
        with atomic(paths.carried) as file:
            file.writelines(orjson.dumps(one) + b"\n" for one in kept)


def _worst_gone(paths: RunPaths, findings: Collection[str]) -> list[GoneFinding]:
    if not findings:
        return []
    gone = (one for name, one in _shown(paths) if name in findings)
    return [
        GoneFinding(
            fingerprint=one["fingerprint"],
            path=with_repository(one)["path"],
            category=one["category"],
            severity=one["severity"],
            title=one["title"],
        )
        for one in nsmallest(_LISTED, gone, worst_first)
    ]


def load_suppressions(named: str | None, source: str | None, log: _Log) -> dict[str, str]:
    """Reasons by fingerprint, from the file `named`, or else from suppressions.jsonl if it is there.

    Code under review must not silence its own review: a file inside what SOURCE reviews never counts.
    `source`: None when the operator named the file in this very command.

    Raises:
        ConfigError: the file that was named is missing or reviewed, or a row of it is wrong.
    """
    path = Path(named or SUPPRESSIONS)
    if named is None and not path.exists():
        return {}
    if source is not None and is_reviewed(path, source):
        remedy = "keep it outside, and name it as `suppressions` in review.toml"
        if named is not None:
            msg = f"{path} lies inside the code under review, which would silence itself: {remedy}"
            raise ConfigError(msg)
        log.warning("%s is ignored, it lies inside the code under review: %s", path, remedy)
        return {}
    known = _read_suppressions(path)
    log.info("%d known false positives in %s: their findings are dropped", len(known), path)
    return known


def _read_suppressions(path: Path) -> dict[str, str]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        msg = f"{path} cannot be read ({reason}): correct suppressions in review.toml, or remove it"
        raise ConfigError(msg) from None
    lines = enumerate(text.split("\n"), 1)
    return read_suppressions(
        ((number, _row(line)) for number, line in lines if line.strip()), str(path)
    )


def _row(line: str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
