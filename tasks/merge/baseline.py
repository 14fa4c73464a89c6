"""
The earlier run that tonight's findings are compared with, and the file of known false positives.

The earlier run is the one that `previous` names, or the newest finished one of the same source among
the folders beside tonight's output. The folders themselves are the record: one that was removed or
moved away is no longer compared with. A run of a part (--limit), and one that reviewed nothing, are
passed over; one with gaps is not, what it showed is known.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from heapq import nsmallest
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tasks.core.errors import ConfigError, OutputError, SourceError
from tasks.core.files import read_json
from tasks.core.git_source import PREFIX, parse_git_source
from tasks.core.paths import RunPaths
from tasks.core.storage_urls import is_url
from tasks.outputs.fetch import fetch_outputs
from tasks.outputs.findings import read_findings
from tasks.outputs.tables import read_manifest, read_reviews
from tasks.review.findings.findings import worst_first
from tasks.review.findings.history import Comparison, earlier_findings
from tasks.review.findings.suppressions import read_suppressions

__all__ = ["Known", "compare", "find_previous", "known_before", "known_false", "source_key", "told"]

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
_DESCRIBED = ("fingerprint", "path", "category", "severity", "title")


class Known(NamedTuple):
    """What is known of findings before a run has any."""

    false: dict[str, str]
    """Fingerprint to reason, of known false positives."""
    earlier: RunPaths | None
    """The run to compare with."""


def known_before(
    suppressions: str | None, previous: str | None, source: str, output: RunPaths
) -> Known:
    """See `known_false` and `find_previous`, also for what they raise."""
    return Known(known_false(suppressions), find_previous(previous, source, output))


def source_key(source: str) -> str:
    """What stays the same of SOURCE from night to night.

    The path of a file or folder. Of a repository its path and whether a range or a time was asked
    for, not which: `git:.@v1..main` follows `git:.@v1..dev`, and not `git:.@since=24h`.
    """
    if not source.startswith(PREFIX):
        return str(Path(source).resolve())
    try:
        asked = parse_git_source(source)
    except SourceError:
        return source  # the load stage says what is wrong with it
    form = "since" if asked.wanted.startswith("since=") else "range"
    return f"{PREFIX}{Path(asked.folder).resolve()}@{form}"


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


def compare(earlier: RunPaths | None, log: Log) -> Comparison | None:
    """What tonight's inputs are to be added to; None when there is nothing to compare with."""
    if earlier is None:
        return None
    reviews = read_reviews(earlier, _COLUMNS)
    try:
        return Comparison({name: one for row in reviews for name, one in earlier_findings(row)})
    except OutputError as error:
        # Tonight's answers are paid for: they are not given up for a folder that is gone by now.
        log.warning("no comparison with the earlier run: %s", error)
        return None


def told(earlier: RunPaths | None, comparison: Comparison | None) -> dict[str, Any] | None:
    """The comparison for the manifest: counts of findings, and the worst of those that are gone."""
    if earlier is None or comparison is None:
        return None
    run_id = read_manifest(earlier)["run_id"]
    worst = _worst(earlier, comparison.gone)
    return {
        "run_id": run_id,
        "folder": earlier.place,
        **comparison.counts(),
        "worst_gone": worst,
    }


def _worst(paths: RunPaths, findings: Collection[str]) -> list[dict[str, Any]]:
    if not findings:
        return []
    shown = (one for found in read_findings(paths) for one in found.shown)
    gone = (one for one in shown if one["cluster_id"] in findings)
    return [
        {name: one[name] for name in _DESCRIBED} for one in nsmallest(_LISTED, gone, worst_first)
    ]


def known_false(named: str | None) -> dict[str, str]:
    """Fingerprint to reason; without a name, those of suppressions.jsonl if it is there.

    Raises:
        ConfigError: the file that was named is missing, or a row of it is wrong.
    """
    path = Path(named or SUPPRESSIONS)
    if named is None and not path.exists():
        return {}
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
