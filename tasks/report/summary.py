"""A finished run in figures, from its tables. Unknown stays None."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tasks.core.quotas import is_loopback
from tasks.core.records import TOOL

__all__ = [
    "SUMMARY_CALL_COLUMNS",
    "SUMMARY_COMMENT_COLUMNS",
    "ModelFigures",
    "Summary",
    "WayFigures",
    "summarise",
]

SUMMARY_CALL_COLUMNS = (
    "stage", "name", "model", "status", "reason", "parse_mode", "dropped_items", "attempts",
    "journaled", "latency_ms", "queue_ms", "started_at", "input_tokens", "output_tokens", "reasoning_tokens",
    "cached_tokens", "cost_usd", "app_id", "endpoint", "via",
)  # fmt: skip
SUMMARY_COMMENT_COLUMNS = (
    "check_model", "category", "severity", "outcome", "agreement", "loc_method",
    "verdict_decision", "verdict_status", "verdict_score", "severity_said",
)  # fmt: skip


_PAID_COLUMNS = [
    "model", "status", "reason", "parse_mode", "input_tokens", "output_tokens", "cost_usd", "via",
]  # fmt: skip
_MAY_HAVE_COST = frozenset(
    {"timeout", "reset", "stream_cut", "bad_reply", "empty_reply", "refusal", "content_filter",
     "too_large"}
)  # fmt: skip
"""Failures of calls that a provider may have charged for."""
_SENT_COLUMNS = ["attempts", "latency_ms", "queue_ms", "started_at", "cost_usd", "via"]


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """The figures of one check, or of the review, over the run."""

    name: str
    model: str
    calls: int
    """0 for a check that is a tool."""
    failed: int
    journaled: int
    unreadable: int
    """Calls whose reply could not be read."""
    comments: int
    kept: int
    """Comments that the policy kept, whatever the review decided."""
    confirmed: int
    rejected: int
    uncertain: int
    truncated: int
    """Calls whose reply was cut at its length."""
    unique_confirmed: int
    """Confirmed comments that no other check raised."""
    unanchored: int
    unknown_severities: dict[str, int]
    """Comments by the model's own word where it is no severity; they count as medium."""
    input_tokens: int | None
    """Tokens and cost are of what this run paid for, and not of journaled answers."""
    output_tokens: int | None
    reasoning_tokens: int | None
    """Of the output."""
    cached_tokens: int | None
    """Of the input, from the provider's cache; None: no reply told."""
    cost_usd: float | None
    unknown_costs: int
    """Calls whose cost is unknown: `cost_usd` is a lower bound then."""

    @property
    def cached_share(self) -> float | None:
        """Share of its input tokens that came from the provider's cache; None: no reply told."""
        if self.cached_tokens is None or not self.input_tokens:
            return None
        return self.cached_tokens / self.input_tokens

    @property
    def confirmed_rate(self) -> float | None:
        """Share of its judged comments that were confirmed."""
        judged = self.confirmed + self.rejected + self.uncertain
        return self.confirmed / judged if judged else None

    @property
    def cost_per_confirmed(self) -> float | None:
        """US dollars; None where this run did not pay for all of it, or not all is known."""
        known = self.cost_usd is not None and not self.unknown_costs and not self.journaled
        return (self.cost_usd or 0.0) / self.confirmed if known and self.confirmed else None


@dataclass(frozen=True, slots=True)
class WayFigures:
    """What this run paid for on one way: online, batch, flex."""

    calls: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a run that the report shows."""

    models: tuple[ModelFigures, ...]
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
    cost_gap: str | None
    """Why `cost_usd` is a lower bound; None: it is all."""
    loopback: int
    """Calls that the journal answered with what an endpoint of its machine once said."""
    span_s: float | None
    """From the first call's start to the last one's end; calls by batch set aside, as in latency."""
    ways: dict[str, WayFigures]


def summarise(calls: pd.DataFrame, comments: pd.DataFrame) -> Summary:
    """The figures of a run, from SUMMARY_CALL_COLUMNS and SUMMARY_COMMENT_COLUMNS; both may be empty."""
    # Of a large run, each column that is not copied is some megabytes less.
    journaled = calls["journaled"].fillna(value=False).astype(bool)
    made = calls[_SENT_COLUMNS][(calls["status"] != "skipped") & ~journaled]
    paid = calls[_PAID_COLUMNS][~journaled]
    answered = made[made["latency_ms"].notna()]
    online = answered[answered["via"] != "batch"]
    return Summary(
        models=tuple(
            _figures(str(name), group, comments)
            for name, group in calls.groupby("name", sort=False, observed=True)
        ),
        decisions=_decisions(comments),
        scores=_scores(comments),
        latency_ms=_percentiles(online["latency_ms"]),
        queue_ms=_percentiles(online["queue_ms"].dropna()),
        queue_s=float(made["queue_ms"].fillna(0).sum()) / 1000,
        retries=int((made["attempts"] - 1).clip(lower=0).sum()),
        calls=len(answered),
        journaled=int(journaled.sum()),
        cost_usd=_known_sum(paid["cost_usd"]),
        cost_gap=_cost_gap(paid),
        loopback=_loopback(calls),
        span_s=_span(online),
        ways={
            str(way): WayFigures(
                calls=int((group["status"] == "ok").sum()),
                input_tokens=_known_int(group["input_tokens"]),
                output_tokens=_known_int(group["output_tokens"]),
                cost_usd=_known_sum(group["cost_usd"]),
            )
            for way, group in paid.groupby("via", observed=True)
        },
    )


def _figures(name: str, calls: pd.DataFrame, comments: pd.DataFrame) -> ModelFigures:
    own = comments[comments["check_model"] == name]
    paid = calls[~calls["journaled"].fillna(value=False).astype(bool)]
    confirmed = own[own["verdict_decision"] == "confirmed"]
    tool = bool((calls["model"] == TOOL).any())
    free = tool or bool(
        (paid["status"] == "skipped").all()
    )  # all from the journal: nothing is unknown
    return ModelFigures(
        name=name,
        model=" / ".join(map(str, calls["model"].dropna().unique())),  # several with a fallback
        calls=0 if tool else int((calls["status"] != "skipped").sum()),
        failed=int((calls["status"] == "failed").sum()),
        journaled=int(calls["journaled"].fillna(value=False).astype(bool).sum()),
        unreadable=int((calls["parse_mode"] == "failed").sum()),
        comments=len(own),
        kept=int((own["outcome"] == "kept").sum()),
        confirmed=len(confirmed),
        rejected=int((own["verdict_decision"] == "rejected").sum()),
        uncertain=int((own["verdict_decision"] == "uncertain").sum()),
        truncated=int((calls["reason"] == "truncated").sum()),
        unique_confirmed=int((confirmed["agreement"] == 1).sum()),
        unanchored=int((own["loc_method"] == "unanchored").sum()),
        unknown_severities=_counts(own["severity_said"].dropna()),
        input_tokens=0 if free else _known_int(paid["input_tokens"]),
        output_tokens=0 if free else _known_int(paid["output_tokens"]),
        reasoning_tokens=_known_int(paid["reasoning_tokens"]),
        cached_tokens=_known_int(paid["cached_tokens"]),
        cost_usd=0.0 if free else _known_sum(paid["cost_usd"]),
        unknown_costs=int(_is_unknown(paid).sum()),
    )


def _is_unknown(paid: pd.DataFrame) -> Any:
    """Which calls cost something, or may have, that nobody knows."""
    replied = (paid["status"] == "ok") | (paid["parse_mode"] == "failed")
    return paid["cost_usd"].isna() & (replied | paid["reason"].isin(_MAY_HAVE_COST))


def _cost_gap(paid: pd.DataFrame) -> str | None:
    unknown = paid[_is_unknown(paid)]
    if unknown.empty:
        return None
    told = unknown[unknown["input_tokens"].notna()]
    unpriced, models = set(told["model"].dropna()), set(paid["model"].dropna()) - {TOOL}
    silent = int((~unknown["model"].isin(unpriced)).sum())
    has = "has" if len(unpriced) == 1 else "have"
    parts = [f"{len(unpriced)} of {len(models)} models {has} no price"] if unpriced else []
    parts += [f"{silent:,} {'call' if silent == 1 else 'calls'} of unknown cost"] if silent else []
    return ", ".join(parts)


def _loopback(calls: pd.DataFrame) -> int:
    journaled = calls["journaled"].fillna(value=False).astype(bool)
    known = calls[["endpoint"]][journaled & calls["endpoint"].notna()]
    counts = known["endpoint"].value_counts()
    return sum(int(count) for place, count in counts.items() if is_loopback(str(place)))


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
