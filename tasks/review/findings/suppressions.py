"""Suppressions: findings that a person has marked as false for good."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.core.errors import ConfigError
from tasks.core.records import Row
from tasks.review.places.fingerprints import earlier_names

__all__ = ["read_suppressions", "suppress"]


def read_suppressions(rows: Iterable[tuple[int, Any]], name: str) -> dict[str, str]:
    """Reasons by fingerprint, from the numbered rows of the file `name`.

    The last row of a fingerprint wins; further fields are for people.

    Raises:
        ConfigError: a row lacks the texts `fingerprint` and `reason`; the message names its line.
    """
    suppressions: dict[str, str] = {}
    for number, row in rows:
        fingerprint, reason = _fields(row)
        if fingerprint is None or reason is None:
            msg = (
                f'{name}, line {number}: write {{"fingerprint": "...", "reason": "..."}}; '
                "copy the fingerprint from comments.parquet"
            )
            raise ConfigError(msg)
        suppressions[fingerprint] = reason
    return suppressions


def _fields(row: Any) -> tuple[str | None, str | None]:
    if not isinstance(row, Mapping):
        return None, None
    fingerprint, reason = row.get("fingerprint"), row.get("reason")
    good = isinstance(fingerprint, str) and fingerprint.strip()
    return (fingerprint if good else None), (reason if isinstance(reason, str) else None)


def suppress(comments: Iterable[Row], suppressions: Mapping[str, str]) -> list[Row]:
    """Comments with those known to be false dropped, whatever the review said of it; verdicts stay.

    A cluster goes as a whole: another check's words for a known false positive must not take its
    place in the report. Fingerprints of versions that counted equal quotes still name what they did.
    """
    comments = list(comments)
    earlier = earlier_names(comments) if suppressions else {}
    known = {
        name for name, old in earlier.items() if not suppressions.keys().isdisjoint((name, old))
    }
    false = {one["cluster_id"] for one in comments if one["fingerprint"] in known}
    return [
        {**one, "outcome": "dropped", "drop_reason": "suppressed"}
        if one["fingerprint"] in known or one["cluster_id"] in false - {None}
        else one
        for one in comments
    ]
