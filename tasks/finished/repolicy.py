"""
A finished run decided anew: the same comments and verdicts, other thresholds, no call.

reviews.parquet has everything but the inputs' texts, which reviews.json has. Both are read side by
side, an input at a time, and the new outputs are written whole before they replace the old ones.
Clusters stay as they are: they follow from comments and scores, which no threshold changes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

import orjson

from tasks.core.errors import OutputError
from tasks.core.files import atomic
from tasks.core.paths import RunPaths
from tasks.core.policy_settings import Policy
from tasks.core.records import Row
from tasks.outputs.stored import comment_of, input_of
from tasks.outputs.tables import read_entries, read_reviews
from tasks.review.findings.history import CURRENT_AGES, count_ages
from tasks.review.findings.policy import apply_policy
from tasks.review.findings.suppressions import suppress

__all__ = ["NewOutcomes", "decide_anew"]


@dataclass(slots=True)
class NewOutcomes:
    """Counts of the comments that were decided anew."""

    outcomes: Counter[str] = field(default_factory=Counter)
    drops: Counter[str] = field(default_factory=Counter)
    """Dropped comments by reason."""
    ages: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    """Comments with another outcome or reason than before."""

    def add(self, before: list[Row], after: list[Row]) -> None:
        """Count one input."""
        self.outcomes.update(one["outcome"] for one in after)
        self.drops.update(one["drop_reason"] for one in after if one["outcome"] == "dropped")
        self.ages.update(count_ages(after))
        self.changed += sum(map(_differs, before, after))

    def age_counts(self) -> dict[str, int]:
        """Findings by age, for the manifest's history."""
        return {name: self.ages[name] for name in CURRENT_AGES}


def _differs(one: Row, other: Row) -> bool:
    return any(one[name] != other[name] for name in ("outcome", "drop_reason"))


def decide_anew(
    finished: RunPaths, target: RunPaths, policy: Policy, suppressions: Mapping[str, str]
) -> NewOutcomes:
    """Read the run in `finished` and write `target.merged`, from which outputs are written.

    `suppressions` has the fingerprints of known false positives. Memory does not grow with the run.

    Raises:
        OutputError: an output is missing, damaged or of another run, or the folder cannot be
            written.
    """
    outcomes = NewOutcomes()
    with atomic(target.merged) as merged:
        for row, entry in _inputs(finished):
            item = input_of(row, entry["content"], entry.get("description"))
            found = apply_policy(map(comment_of, row["comments"]), policy, item)
            comments = suppress(map(asdict, found), suppressions)
            outcomes.add(row["comments"], comments)
            review = _review(row, comments)
            merged.write(orjson.dumps({"input": asdict(item), "review": review}) + b"\n")
    return outcomes


def _review(row: Row, comments: list[Row]) -> Row:
    input_id = row["input_id"]
    return {
        "input_id": input_id,
        "coverage": row["coverage"],
        "coverage_reason": row["coverage_reason"],
        "comments": comments,
        "calls": [{"input_id": input_id, **call} for call in row["calls"]],
    }


def _inputs(paths: RunPaths) -> Iterator[tuple[Row, Row]]:
    """Each input's row in reviews.parquet and its entry in reviews.json."""
    entries = read_entries(paths)
    for row in read_reviews(paths):
        name, entry = next(entries, (None, None))
        if not isinstance(entry, dict) or row["input_id"] != name or not _same(row, entry):
            raise _mismatch(paths)
        yield row, entry
    if next(entries, None) is not None:
        raise _mismatch(paths)


def _same(row: Row, entry: Row) -> bool:
    content = str(entry.get("content", ""))
    return bool(row["input_sha256"] == hashlib.sha256(content.encode()).hexdigest())


def _mismatch(paths: RunPaths) -> OutputError:
    return OutputError(
        f"reviews.json and reviews.parquet in {paths.root} do not belong together: run again"
    )
