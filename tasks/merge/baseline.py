"""
The baseline of a run's findings: an earlier run to compare with, and known false positives.

The earlier run is the one that `previous` names, or the newest finished one of the same source among
the folders beside this run's output. The folders themselves are the record: one that was removed or
moved away is no longer compared with. A run of a part (--limit), and one that reviewed nothing, are
passed over; one with gaps is not, what it showed is known.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator
from heapq import nsmallest
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson

from tasks.core.errors import ConfigError, OutputError, SourceError
from tasks.core.files import read_json
from tasks.core.git_source import GIT_PREFIX, parse_git_source
from tasks.core.locations import is_url
from tasks.core.manifest import GoneFinding, HistoryFacts
from tasks.core.paths import RunPaths
from tasks.outputs.fetch import fetch_outputs
from tasks.outputs.findings import read_findings
from tasks.outputs.tables import read_manifest, read_reviews
from tasks.review.findings.findings import worst_first
from tasks.review.findings.history import Comparison, earlier_findings
from tasks.review.findings.suppressions import read_suppressions

__all__ = [
    "Baseline",
    "find_baseline",
    "find_previous",
    "history_facts",
    "is_reviewed",
    "load_suppressions",
    "source_key",
    "start_comparison",
]

Log = logging.Logger | logging.LoggerAdapter[Any]

SUPPRESSIONS = "suppressions.jsonl"
_LISTED = 100
"""Findings that are gone and described in the manifest, the worst ones."""

_COLUMNS = (
    "input_id",
    "extra",
    *(
        f"comments.list.element.{name}"
        for name in ("fingerprint", "path", "outcome", "cluster_id", "existing_code")
    ),
)
_FETCHED = ("reviews.parquet", "comments.parquet")


class Baseline(NamedTuple):
    """False positives and an earlier run, both known before a run has findings of its own."""

    suppressions: dict[str, str]
    """Reasons by fingerprint, of known false positives."""
    earlier: RunPaths | None
    """The run to compare with; None: there is none."""


def find_baseline(
    suppressions: str | None, previous: str | None, source: str, output: RunPaths, log: Log
) -> Baseline:
    """The baseline of a run into `output`; raises as `load_suppressions` and `find_previous` do."""
    known = load_suppressions(suppressions, source, log)
    return Baseline(known, find_previous(previous, source, output))


def is_reviewed(path: Path, source: str) -> bool:
    """Whether `path` lies in the checkout or folder that SOURCE reviews.

    What is there was written by those whose code is under review.
    """
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
    for, not which: `git:.@v1..main` follows `git:.@v1..dev`, and not `git:.@since=24h`.
    """
    if not source.startswith(GIT_PREFIX):
        return str(Path(source).resolve())
    try:
        asked = parse_git_source(source)
    except SourceError:
        return source  # the load stage says what is wrong with it
    form = "since" if asked.wanted.startswith("since=") else "range"
    return f"{GIT_PREFIX}{Path(asked.folder).resolve()}@{form}"


def find_previous(named: str | None, source: str, output: RunPaths) -> RunPaths | None:
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
    folders = (paths for paths in _runs(output.root.parent) if paths.root != output.root)
    return next((paths for paths in folders if _follows(read_json(paths.manifest), key)), None)


def _runs(folder: Path) -> Iterator[RunPaths]:
    """Finished runs in `folder`, newest first."""
    manifests = folder.glob("*/manifest.json")
    for manifest in sorted(manifests, key=lambda one: one.stat().st_mtime, reverse=True):
        yield RunPaths(manifest.parent)


def _follows(manifest: Any, key: str) -> bool:
    if not isinstance(manifest, dict) or manifest.get("source_key") != key:
        return False
    coverage = manifest["counts"]["coverage"]
    return manifest.get("limit") is None and coverage["complete"] + coverage["partial"] > 0


def start_comparison(earlier: RunPaths | None, log: Log) -> Comparison | None:
    """A comparison that the run's inputs are added to; None without an earlier run."""
    if earlier is None:
        return None
    reviews = read_reviews(earlier, _COLUMNS)
    try:
        return Comparison({name: one for row in reviews for name, one in earlier_findings(row)})
    except OutputError as error:
        # This run's answers are paid for: they are not given up for a folder that is gone by now.
        log.warning("no comparison with the earlier run: %s", error)
        return None


def history_facts(earlier: RunPaths | None, comparison: Comparison | None) -> HistoryFacts | None:
    """The comparison for the manifest: counts of findings, and the worst of those that are gone."""
    if earlier is None or comparison is None:
        return None
    run_id = read_manifest(earlier)["run_id"]
    # A comparison counts by the names that HistoryFacts has.
    counts = comparison.counts()
    worst = _worst_gone(earlier, comparison.gone)
    history = {"run_id": run_id, "folder": earlier.place, **counts, "worst_gone": worst}
    return cast("HistoryFacts", history)


def _worst_gone(paths: RunPaths, findings: Collection[str]) -> list[GoneFinding]:
    if not findings:
        return []
    shown = (one for found in read_findings(paths) for one in found.shown)
    gone = (one for one in shown if one["cluster_id"] in findings)
    return [
        GoneFinding(
            fingerprint=one["fingerprint"],
            path=one["path"],
            category=one["category"],
            severity=one["severity"],
            title=one["title"],
        )
        for one in nsmallest(_LISTED, gone, worst_first)
    ]


def load_suppressions(named: str | None, source: str | None, log: Log) -> dict[str, str]:
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
