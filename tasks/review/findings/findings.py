"""
Findings of one input from its comments: each issue once.

A finding is the comment that represents its cluster. The others are not lost, they are in
comments.parquet under the same `cluster_id`; their texts are never merged into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tasks.core.records import CATEGORIES, SEVERITIES
from tasks.core.sections import split_section

__all__ = [
    "Finding",
    "Findings",
    "category_of",
    "findings_of",
    "in_repository",
    "line_range",
    "place_text",
    "severity_index",
    "title_of",
    "with_repository",
    "worst_first",
]

Finding = Mapping[str, Any]
"""A row of comments.parquet: the comment that represents its cluster."""

_MAX_TITLE = 80


@dataclass(frozen=True, slots=True)
class Findings:
    """The findings of one input."""

    input_id: str
    kind: str
    path: str
    """Of the input; its id when it has none."""
    shown: tuple[Finding, ...]
    """Kept or unverified, one per cluster, in the order of their places."""
    suppressed: tuple[Finding, ...]
    """Dropped as known false positives, one per cluster."""


def findings_of(source: Finding, comments: Iterable[Finding]) -> Findings:
    """Findings of one input: `source` is its row of reviews.parquet, `comments` its rows of comments.parquet.

    The rows of the result have a `path` in any case: the comment's, the input's, or its id.
    """
    clusters: dict[str, list[Finding]] = {}
    for comment in comments:
        clusters.setdefault(comment["cluster_id"] or comment["comment_id"], []).append(comment)
    path = _tidy(source["path"] or source["input_id"])
    shown = [
        _representative([one for one in group if _visible(one)]) for group in clusters.values()
    ]
    suppressed = [
        _representative([one for one in group if one["drop_reason"] == "suppressed"])
        for group in clusters.values()
        if not any(_visible(one) for one in group)
    ]
    return Findings(
        input_id=source["input_id"],
        kind=source["kind"],
        path=path,
        shown=_by_place(shown, path),
        suppressed=_by_place(suppressed, path),
    )


def _visible(comment: Finding) -> bool:
    return bool(comment["outcome"] != "dropped")


def _representative(group: list[Finding]) -> Finding | None:
    """The canonical comment where it is still there, else the best of the rest."""
    return min(group, key=lambda one: (one["outcome"] != "kept", *_rank(one)), default=None)


def _rank(comment: Finding) -> tuple[bool, int, int, str]:
    canonical = comment["cluster_id"] in (None, comment["comment_id"])
    return (not canonical, *worst_first(comment)[:2], comment["comment_id"])


def _by_place(comments: Iterable[Finding | None], path: str) -> tuple[Finding, ...]:
    placed = [{**one, "path": _tidy(one["path"] or path)} for one in comments if one is not None]
    return tuple(
        sorted(placed, key=lambda one: (one["path"], one["start_line"] or 0, one["comment_id"]))
    )


def _tidy(path: str) -> str:
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return path or "."


def severity_index(finding: Finding) -> int:
    """Rank of a finding's severity, 0 the worst; one that this version does not know counts as the mildest."""
    severity = finding["severity"]
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES) - 1


def category_of(finding: Finding) -> str:
    """Category of a finding; one that this version does not know is `other`."""
    return str(finding["category"]) if finding["category"] in CATEGORIES else "other"


def worst_first(finding: Finding) -> tuple[int, int, int, str]:
    """Sort key: severity, score, agreement, id."""
    score = finding["verdict_score"]
    return (
        severity_index(finding),
        -(score if score is not None else -1),
        -(finding["agreement"] or 1),
        finding["comment_id"],
    )


def line_range(finding: Finding) -> tuple[int, int] | None:
    """First and last line in the new file, or None: no place, or a line that was removed."""
    start = finding["start_line"]
    if start is None or finding["side"] == "left":
        return None
    return start, max(start, finding["end_line"] or start)


def place_text(finding: Finding) -> str:
    """A finding's place for people: `line 3`, `lines 3-5`, `removed line 3`, `no line`."""
    start, end = finding["start_line"], finding["end_line"]
    if start is None:
        return "no line"
    numbers = f"line {start}" if end in (None, start) else f"lines {start}-{end}"
    return f"removed {numbers}" if finding["side"] == "left" else numbers


def with_repository(finding: Finding) -> Finding:
    """The finding; of a run of several repositories with its own in front of the path: shop/src/a.py."""
    section = split_section(finding["input_id"]).section
    return {**finding, "path": f"{section}/{finding['path']}"} if section else finding


def in_repository(findings: Findings) -> Findings:
    """The findings of one input, all with their repository as `with_repository` has them."""
    section = split_section(findings.input_id).section
    if not section:
        return findings
    return replace(
        findings,
        path=f"{section}/{findings.path}",
        shown=tuple(map(with_repository, findings.shown)),
        suppressed=tuple(map(with_repository, findings.suppressed)),
    )


def title_of(finding: Finding) -> str:
    """A finding's title, or the start of its message, marked when no verdict stands behind it."""
    title = " ".join((finding["title"] or finding["message"] or "").split())
    title = title if len(title) <= _MAX_TITLE else f"{title[: _MAX_TITLE - 3]}..."
    return f"[unverified] {title}" if finding["outcome"] == "unverified" else title
