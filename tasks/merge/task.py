"""Stage 4: the shards' parts -> one line per input, and the proof that no cell is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.core.cells import Cell, Plan, RunCounts, cells_of, coverage_of
from tasks.core.errors import StateError
from tasks.core.failures import Failures
from tasks.core.files import atomic
from tasks.core.manifest import HistoryFacts
from tasks.core.paths import RunPaths, ShardPaths
from tasks.core.upstream_facts import FailureFacts
from tasks.merge.baseline import Baseline, close_comparison, start_comparison
from tasks.merge.canaries import canary_file
from tasks.merge.sections import SectionCounts, count_section
from tasks.review.findings.history import HistoryComparison
from tasks.review.findings.suppressions import suppress

__all__ = ["Merged", "merge", "merge_shards"]


class Merged(NamedTuple):
    """Counts of a merged run, and how its findings compare with an earlier run's."""

    counts: RunCounts
    history: HistoryFacts | None
    """The comparison with the earlier run; None: there was none."""
    failures: list[FailureFacts]
    """Failed calls in groups, the largest first."""
    sections: dict[str, SectionCounts]
    """By repository; empty where the source is a single one."""


@task(name="merge", task_run_name="merge", cache_policy=NO_CACHE, persist_result=False)
def merge(
    paths: RunPaths,
    shards: list[str],
    planned: Plan,
    expected_inputs: int,
    baseline: Baseline,
) -> Merged:
    """Stage task; see `merge_shards`."""
    comparison = start_comparison(baseline.earlier, get_run_logger())
    failures, sections = Failures(), dict[str, SectionCounts]()
    counts = merge_shards(
        paths,
        [ShardPaths(Path(root)) for root in shards],
        planned,
        expected_inputs,
        suppressions=baseline.suppressions,
        comparison=comparison,
        failures=failures,
        sections=sections,
    )
    history = close_comparison(baseline, comparison, paths, get_run_logger())
    return Merged(counts, history, failures.facts(), sections)


def merge_shards(
    paths: RunPaths,
    shards: Iterable[ShardPaths],
    planned: Plan,
    expected_inputs: int,
    *,
    suppressions: Mapping[str, str],
    comparison: HistoryComparison | None,
    failures: Failures,
    sections: dict[str, SectionCounts],
) -> RunCounts:
    """Join each input with its review into `paths.merged`, in order of input_id.

    An input whose shard was lost gets a failed cell for each planned one, so that it is counted
    and visible; it is never left out. Findings whose fingerprint is in `suppressions` are dropped, and
    `comparison` gives the others their age. Failed calls are added to `failures`, what each repository
    of several has to `sections`. Canaries go to `paths.canaries` instead, and count nowhere.

    Raises:
        StateError: the counts do not add up, which would be a defect of ours.
        OutputError: the work folder cannot be written.
    """
    counts = RunCounts()
    with atomic(paths.merged) as merged, canary_file(paths) as canaries:
        for shard in shards:
            for line, review in _joined(shard):
                whole = _complete(review, planned)
                if canaries.take(line, whole):
                    continue
                whole["comments"] = suppress(whole["comments"], suppressions)
                if comparison is not None:
                    comparison.add(orjson.loads(line), whole)
                counts.add(*_counted(whole, planned))
                failures.add(whole["calls"])
                count_section(sections, whole)
                merged.write(b'{"input":%b,"review":%b}\n' % (line, orjson.dumps(whole)))
    _prove(counts, expected_inputs, len(planned))
    return counts


def _joined(shard: ShardPaths) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Inputs of a shard with their reviews: both are sorted by input_id, so one pass is enough."""
    reviews = _reviews(shard)
    review = next(reviews, None)
    with shard.inputs.open("rb") as inputs:
        for raw in inputs:
            line = raw.rstrip(b"\n")
            input_id = orjson.loads(line)["input_id"]
            if review is not None and review["input_id"] == input_id:
                yield line, review
                review = next(reviews, None)
            else:
                yield line, {"input_id": input_id, "comments": [], "calls": [], "lost": True}


def _reviews(shard: ShardPaths) -> Iterator[dict[str, Any]]:
    for part in sorted(shard.root.glob("part-*.jsonl")):
        with part.open("rb") as file:
            yield from map(orjson.loads, file)


def _complete(review: dict[str, Any], planned: Plan) -> dict[str, Any]:
    """The review with a row for every planned cell."""
    if "lost" not in review:
        return review
    calls = [_lost_call(review["input_id"], stage, name) for stage, name in planned]
    coverage, reason = coverage_of(cells_of(planned, (), "shard_lost"), None)
    return {
        "input_id": review["input_id"],
        "coverage": coverage,
        "coverage_reason": reason,
        "comments": [],
        "calls": calls,
    }


def _lost_call(input_id: str, stage: str, name: str) -> dict[str, Any]:
    return {
        "input_id": input_id,
        "stage": stage,
        "name": name,
        "part": 0,
        "status": "failed",
        "reason": "shard_lost",
    }


def _counted(review: dict[str, Any], planned: Plan) -> tuple[Any, str, list[str], list[str]]:
    ends = [
        Cell(one["stage"], one["name"], one["status"], one["reason"]) for one in review["calls"]
    ]
    cells = cells_of(planned, ends, "missing")
    comments = review["comments"]
    drops = [one["drop_reason"] for one in comments if one["outcome"] == "dropped"]
    return cells, review["coverage"], [one["outcome"] for one in comments], drops


def _prove(counts: RunCounts, inputs: int, cells_each: int) -> None:
    ends = counts.cells.total()
    if counts.inputs != inputs or counts.planned != inputs * cells_each or ends != counts.planned:
        msg = (
            f"merge lost count: {counts.inputs} of {inputs} inputs, {ends} of "
            f"{inputs * cells_each} cells; the journal has every answer, so run again"
        )
        raise StateError(msg)
