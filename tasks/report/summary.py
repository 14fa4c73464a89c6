"""A finished run in figures, from its tables. Unknown stays None."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

__all__ = ["CALL_COLUMNS", "COMMENT_COLUMNS", "ModelFigures", "Summary", "summarise"]

CALL_COLUMNS = (
    "stage", "name", "model", "status", "reason", "parse_mode", "dropped_items", "attempts",
    "journaled", "latency_ms", "queue_ms", "started_at", "input_tokens", "output_tokens", "cost_usd", "app_id",
)  # fmt: skip
COMMENT_COLUMNS = (
    "check_model", "category", "severity", "outcome", "agreement", "loc_method",
    "verdict_decision", "verdict_status", "verdict_score",
)  # fmt: skip


_OF_MADE = ["attempts", "latency_ms", "queue_ms", "started_at", "cost_usd"]


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One check, or the review, over the run."""

    name: str
    model: str
    calls: int
    failed: int
    journaled: int
    unreadable: int
    """Calls whose reply could not be read."""
    comments: int
    confirmed: int
    rejected: int
    uncertain: int
    unique_confirmed: int
    """Confirmed comments that no other check raised."""
    unanchored: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None

    @property
    def confirmed_rate(self) -> float | None:
        """Share of its judged comments that were confirmed."""
        judged = self.confirmed + self.rejected + self.uncertain
        return self.confirmed / judged if judged else None

    @property
    def cost_per_confirmed(self) -> float | None:
        """US dollars."""
        return (
            self.cost_usd / self.confirmed if self.cost_usd is not None and self.confirmed else None
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """What the report is made of."""

    models: tuple[ModelFigures, ...]
    severities: dict[str, dict[str, int]]
    """Kept and unverified comments: severity -> category -> count."""
    decisions: dict[str, int]
    """Verdicts by decision; those without one by status."""
    scores: dict[str, float]
    """Mean score by decision, where there are scores."""
    latency_ms: dict[str, float]
    """p50, p95, p99 of calls made in this run."""
    queue_ms: dict[str, float]
    """p50, p95, p99 of their waits for quota."""
    queue_s: float
    """Seconds that calls waited for quota, summed."""
    retries: int
    calls: int
    """Calls answered in this run, not by the journal."""
    journaled: int
    cost_usd: float | None
    span_s: float | None
    """From the first call's start to the last one's end."""


def summarise(calls: pd.DataFrame, comments: pd.DataFrame) -> Summary:
    """`calls` has CALL_COLUMNS, `comments` has COMMENT_COLUMNS; both may be empty."""
    # Of a large night, each column that is not copied is some megabytes less.
    made = calls[_OF_MADE][
        (calls["status"] != "skipped") & ~calls["journaled"].fillna(value=False).astype(bool)
    ]
    answered = made[made["latency_ms"].notna()]
    visible = comments[["severity", "category"]][comments["outcome"] != "dropped"]
    return Summary(
        models=tuple(
            _figures(str(name), group, comments)
            for name, group in calls.groupby("name", sort=False, observed=True)
        ),
        severities=_cross(visible),
        decisions=_decisions(comments),
        scores=_scores(comments),
        latency_ms=_percentiles(answered["latency_ms"]),
        queue_ms=_percentiles(answered["queue_ms"].dropna()),
        queue_s=float(made["queue_ms"].fillna(0).sum()) / 1000,
        retries=int((made["attempts"] - 1).clip(lower=0).sum()),
        calls=len(answered),
        journaled=int(calls["journaled"].fillna(value=False).astype(bool).sum()),
        cost_usd=_known_sum(answered["cost_usd"]),
        span_s=_span(answered),
    )


def _figures(name: str, calls: pd.DataFrame, comments: pd.DataFrame) -> ModelFigures:
    own = comments[comments["check_model"] == name]
    confirmed = own[own["verdict_decision"] == "confirmed"]
    return ModelFigures(
        name=name,
        model=str(calls["model"].iloc[0]),
        calls=int((calls["status"] != "skipped").sum()),
        failed=int((calls["status"] == "failed").sum()),
        journaled=int(calls["journaled"].fillna(value=False).astype(bool).sum()),
        unreadable=int((calls["parse_mode"] == "failed").sum()),
        comments=len(own),
        confirmed=len(confirmed),
        rejected=int((own["verdict_decision"] == "rejected").sum()),
        uncertain=int((own["verdict_decision"] == "uncertain").sum()),
        unique_confirmed=int((confirmed["agreement"] == 1).sum()),
        unanchored=int((own["loc_method"] == "unanchored").sum()),
        input_tokens=_known_int(calls["input_tokens"]),
        output_tokens=_known_int(calls["output_tokens"]),
        cost_usd=_known_sum(calls["cost_usd"]),
    )


def _cross(comments: pd.DataFrame) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for severity, group in comments.groupby("severity", observed=True):
        table[str(severity)] = _counts(group["category"])
    return table


def _counts(values: Any) -> dict[str, int]:
    # Of a category, values that do not occur are counted as well.
    return {str(value): int(count) for value, count in values.value_counts().items() if count}


def _decisions(comments: pd.DataFrame) -> dict[str, int]:
    decision, status = (
        comments[f"verdict_{name}"].astype(object) for name in ("decision", "status")
    )
    return _counts(decision.fillna(status).dropna())


def _scores(comments: pd.DataFrame) -> dict[str, float]:
    known = comments[["verdict_decision", "verdict_score"]][comments["verdict_score"].notna()]
    means = known.groupby("verdict_decision", observed=True)["verdict_score"].mean()
    return {str(decision): float(mean) for decision, mean in means.items()}


def _percentiles(values: Any) -> dict[str, float]:
    if values.empty:
        return {}
    return {f"p{share:g}": float(values.quantile(share / 100)) for share in (50, 95, 99)}


def _known_sum(values: Any) -> float | None:
    known = values.dropna()
    return float(known.sum()) if len(known) else None


def _known_int(values: Any) -> int | None:
    total = _known_sum(values)
    return None if total is None else int(total)


def _span(answered: pd.DataFrame) -> float | None:
    if answered.empty:
        return None
    ends = answered["started_at"] + answered["latency_ms"] / 1000
    return float(ends.max() - answered["started_at"].min())
