"""What changed since an earlier run, and what a person has marked as false for good."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from tasks.core.errors import RowError
from tasks.core.records import Comment

__all__ = ["Age", "History", "age_of", "compare", "read_suppressions", "suppress"]

Age = Literal["new", "recurring"]


@dataclass(frozen=True, slots=True)
class History:
    """Fingerprints of two runs over the same source, each sorted."""

    new: tuple[str, ...]
    recurring: tuple[str, ...]
    gone: tuple[str, ...]
    unknown: tuple[str, ...]
    """Found before, and its file was not reviewed now: neither gone nor recurring."""


def compare(
    now: Iterable[str], before: Mapping[str, str | None], reviewed: Collection[str | None] | None
) -> History:
    """Compare tonight's fingerprints with those of an earlier run.

    `before` maps each earlier fingerprint to its path. `reviewed` has the paths of inputs whose
    review is complete tonight; None means all. An input that failed tonight has lost no finding.
    """
    current = set(now)
    missing = set(before) - current
    gone = {name for name in missing if reviewed is None or before[name] in reviewed}
    return History(
        new=tuple(sorted(current - set(before))),
        recurring=tuple(sorted(current & set(before))),
        gone=tuple(sorted(gone)),
        unknown=tuple(sorted(missing - gone)),
    )


def age_of(comment: Comment, before: Collection[str]) -> Age:
    """Whether an earlier run had this finding."""
    return "recurring" if comment.fingerprint in before else "new"


def read_suppressions(rows: Iterable[Any]) -> dict[str, str]:
    """Fingerprint to reason, from rows of suppressions.jsonl; the last row of a fingerprint wins.

    Raises RowError with code `bad_suppression` and the row's number, from 1.
    """
    known: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        fingerprint, reason = _fields(row)
        if fingerprint is None or reason is None:
            msg = (
                f"suppressions row {number}: needs the texts `fingerprint` and `reason`; "
                "copy the fingerprint from comments.parquet"
            )
            raise RowError(msg, code="bad_suppression")
        known[fingerprint] = reason
    return known


def suppress(comments: Iterable[Comment], known: Mapping[str, str]) -> tuple[Comment, ...]:
    """Drop what is known to be false; its verdict stays, so that the file can be undone."""
    return tuple(
        replace(comment, outcome="dropped", drop_reason="suppressed")
        if comment.fingerprint in known
        else comment
        for comment in comments
    )


def _fields(row: Any) -> tuple[str | None, str | None]:
    if not isinstance(row, Mapping):
        return None, None
    fingerprint, reason = row.get("fingerprint"), row.get("reason")
    good = isinstance(fingerprint, str) and fingerprint.strip()
    return (fingerprint if good else None), (reason if isinstance(reason, str) else None)
