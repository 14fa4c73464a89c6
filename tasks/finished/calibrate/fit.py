"""
The thresholds that keep the most true findings at a wanted precision. Pure: scored findings in, policy out.

    groups    categories with a severity that have 20 findings or more are a group of their own, then
              categories with 20; the others are one group, whose threshold is `min_score`
    choice    group by group, for every number of true findings the fewest false ones that come with
              it: of all combinations of thresholds none keeps more at the precision

Of thresholds that keep the same the highest is taken: it asks more of findings that are to come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tasks.core.policy_settings import Policy

__all__ = ["LEAST", "ScoredFinding", "fit_policy", "group_names"]

LEAST = 20
"""Findings that a group has to have to get a threshold of its own."""
_SCORES = range(11)
_ROUNDING = 1e-9
_REST = ""


@dataclass(frozen=True, slots=True)
class ScoredFinding:
    """One finding of a labelled input, with the verdict that counts most for it."""

    category: str
    severity: str
    score: int
    is_true: bool
    """It stands for a labelled defect."""
    is_uncertain: bool = False


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a group keeps from one threshold on."""

    score: int
    true: int
    false: int


_Chosen = dict[str, _Kept]


def fit_policy(findings: Sequence[ScoredFinding], precision: float, base: Policy) -> Policy | None:
    """`base` with other scores; None: no scores reach the precision, from 0 to 1, on these findings."""
    best: tuple[tuple[int, int, int], Policy] | None = None
    names = group_names(findings)
    doubted = any(one.is_uncertain for one in findings)
    for uncertain in _SCORES if doubted else [base.keep_uncertain_score]:
        seen = [one for one in findings if not one.is_uncertain or one.score >= uncertain]
        chosen = _choose(_groups(seen, names), precision)
        if chosen is None:
            continue
        true, false = (
            sum(getattr(one, side) for one in chosen.values()) for side in ("true", "false")
        )
        rank = (true, -false, uncertain)
        if best is None or rank > best[0]:
            best = rank, _policy(base, chosen, uncertain)
    return None if best is None else best[1]


def group_names(findings: Iterable[ScoredFinding]) -> Mapping[tuple[str, str], str]:
    """The group of each category and severity: "bug/high", "bug", or "" for the rest."""
    cells: dict[tuple[str, str], int] = {}
    for one in findings:
        cells[one.category, one.severity] = cells.get((one.category, one.severity), 0) + 1
    small: dict[str, int] = {}
    for (category, _), count in cells.items():
        if count < LEAST:
            small[category] = small.get(category, 0) + count
    return {
        (category, severity): _group_name(category, severity, count, small)
        for (category, severity), count in cells.items()
    }


def _group_name(category: str, severity: str, count: int, small: Mapping[str, int]) -> str:
    if count >= LEAST:
        return f"{category}/{severity}"
    return category if small[category] >= LEAST else _REST


def _groups(
    findings: Iterable[ScoredFinding], names: Mapping[tuple[str, str], str]
) -> dict[str, list[_Kept]]:
    """What each group keeps at every threshold."""
    found: dict[str, list[ScoredFinding]] = {name: [] for name in names.values()}
    for one in findings:
        found[names[one.category, one.severity]].append(one)
    return {name: [_kept(some, score) for score in _SCORES] for name, some in found.items()}


def _kept(findings: Iterable[ScoredFinding], score: int) -> _Kept:
    above = [one.is_true for one in findings if one.score >= score]
    return _Kept(score, sum(above), len(above) - sum(above))


def _choose(groups: Mapping[str, Sequence[_Kept]], precision: float) -> _Chosen | None:
    """The thresholds with the most true findings, then the fewest false ones; None: none reaches it."""
    fewest: dict[int, tuple[int, tuple[_Kept, ...]]] = {0: (0, ())}
    for rows in groups.values():
        fewest = _with_group(fewest, rows)
    good = [
        (true, -false, chosen)
        for true, (false, chosen) in fewest.items()
        if true * (1 - precision) - false * precision >= -_ROUNDING and true + false
    ]
    if not good:
        return None
    _, _, chosen = max(good, key=lambda one: one[:2])
    return dict(zip(groups, chosen, strict=True))


def _with_group(
    fewest: Mapping[int, tuple[int, tuple[_Kept, ...]]], rows: Sequence[_Kept]
) -> dict[int, tuple[int, tuple[_Kept, ...]]]:
    """By true findings kept: the fewest false ones, one more group included."""
    found: dict[int, tuple[int, tuple[_Kept, ...]]] = {}
    distinct = {(row.true, row.false): row for row in rows}  # of equal ones the highest score
    for true, (false, chosen) in fewest.items():
        for row in distinct.values():
            total, wrong = true + row.true, false + row.false
            if total not in found or wrong < found[total][0]:
                found[total] = (wrong, (*chosen, row))
    return found


def _policy(base: Policy, chosen: _Chosen, uncertain: int) -> Policy:
    rest = chosen.get(_REST)
    scores = {name: kept.score for name, kept in sorted(chosen.items()) if name != _REST}
    return base.model_copy(
        update={
            "keep_uncertain_score": uncertain,
            "min_score": base.min_score if rest is None else rest.score,
            "min_scores": scores,
        }
    )
