"""The words and numbers that the template shows. No markup here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.core.manifest import HistoryFacts, RunFacts
from tasks.core.records import SEVERITIES
from tasks.core.upstream_facts import QuotaProof
from tasks.report.canaries import CANARY_HEAD, canary_note, canary_rows
from tasks.report.findings import FindingsSummary
from tasks.report.summary import ModelFigures, Summary
from tasks.report.upstream import ReportTable
from tasks.report.words import (
    budget_text,
    cost_text,
    coverage_text,
    listed,
    quota_sentence,
    ways_rows,
)

__all__ = [
    "Figure",
    "cards",
    "findings_note",
    "problems",
    "report_tables",
]

_SECOND = 1000.0
_NEEDLESS = ("no_comments", "nothing_to_review")
"""Why the review of an input was not asked, without any fault."""
_NOT_REVIEWED = ("deleted", "excluded")
"""Why a file was not to be reviewed, without any fault."""
_OTHER_AGES: tuple[Literal["recurring", "gone", "dropped", "unknown"], ...] = (
    "recurring",
    "gone",
    "dropped",
    "unknown",
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its label, and a note beneath it."""

    label: str
    value: str
    note: str = ""


def cards(manifest: RunFacts, summary: Summary, findings: FindingsSummary) -> list[Figure]:
    """The totals at the top of the page."""
    counts = manifest["counts"]
    comments, cells = counts["comments"], counts["cells"]
    cost = cost_text(summary.cost_usd, summary.cost_gap).partition(" (")[0]
    worst = ", ".join(f"{findings.count(one):,} {one}" for one in SEVERITIES[:2])
    return [
        Figure("inputs", f"{counts['inputs']:,}", coverage_text(counts["coverage"])),
        Figure("findings", f"{findings.total:,}", f"{worst}; in {findings.inputs:,} inputs"),
        *_news(manifest.get("history")),
        Figure("comments", f"{comments['raised']:,}", listed(comments, skip=("raised",))),
        Figure("checks and reviews", f"{cells['planned']:,}", _ends(manifest)),
        Figure("calls sent", f"{summary.calls:,}", f"{summary.journaled:,} from the journal"),
        Figure("latency", _latency(summary), f"95th percentile; {summary.retries:,} retries"),
        Figure("cost", cost, summary.cost_gap or "US dollars"),
        *_budget(manifest),
        Figure("time", _duration(manifest["seconds"]), f"{_rate(manifest)} inputs a minute"),
    ]


def _ends(manifest: RunFacts) -> str:
    counts = manifest["counts"]
    cells, reasons = counts["cells"], counts["skipped_by_reason"]
    needless = sum(reasons.get(reason, 0) for reason in _NEEDLESS)
    left_out = cells.get("skipped", 0) - needless
    ends = {"done": cells.get("ok", 0), "failed": cells.get("failed", 0), "left out": left_out}
    return listed(ends | {"not needed": needless})


def _budget(manifest: RunFacts) -> list[Figure]:
    rows = manifest.get("budget", [])
    if not rows:
        return []
    fullest = max(rows, key=lambda row: row["share"])
    return [Figure("of the budget", f"{fullest['share']:.0%}", budget_text(fullest))]


def _news(history: HistoryFacts | None) -> list[Figure]:
    if history is None:
        return []
    others: dict[str, int] = {name: history[name] for name in _OTHER_AGES}
    return [Figure("new findings", f"{history['new']:,}", listed(others))]


def _latency(summary: Summary) -> str:
    value = summary.latency_ms.get("p95")
    if value is None:
        return "none"
    return f"{value:,.0f} ms" if value < _SECOND else f"{value / 1000:,.1f} s"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"


def _rate(manifest: RunFacts) -> str:
    return f"{60 * manifest['counts']['inputs'] / max(manifest['seconds'], 0.001):,.0f}"


def problems(manifest: RunFacts) -> list[Figure]:
    """Gaps of the run by reason; empty when it is complete. A review without comments is none."""
    counts = manifest["counts"]
    kinds = {
        "checks or reviews failed": counts["failed_by_reason"],
        "replies cut, raise max_tokens": counts.get("cut_by_reason", {}),
        "checks or reviews left out": _without(counts["skipped_by_reason"], _NEEDLESS),
        "rows rejected": _without(manifest["rejected"]["reasons"], _NOT_REVIEWED),
    }
    return [
        Figure(kind, f"{sum(reasons.values()):,}", listed(reasons))
        for kind, reasons in kinds.items()
        if reasons
    ]


def _without(reasons: Mapping[str, int], harmless: Sequence[str]) -> dict[str, int]:
    return {reason: count for reason, count in reasons.items() if reason not in harmless}


def findings_note(findings: FindingsSummary) -> str:
    """The note over the table of findings: what it holds, and what it leaves out."""
    if not findings.total:
        note = "Nothing to show: no comment was kept."
    else:
        note = "Worst first. Open one to see the code, the reason and the suggested change."
        if any(one["verdict_score"] is not None for one in findings.worst):
            note += " Score: the review model's, 0 to 10."
        if any(one["outcome"] == "unverified" for one in findings.worst):
            note += " Unverified: no verdict of the review model."
    more = findings.total - len(findings.worst)
    if more:
        note += (
            f" The worst {len(findings.worst):,} are listed, and {more:,} more in comments.parquet."
        )
    if findings.suppressed:
        note += f" {findings.suppressed:,} known false positives are left out."
    return note


def report_tables(manifest: RunFacts, summary: Summary, quota: QuotaProof) -> list[ReportTable]:
    """The tables of figures below the findings."""
    found = [_checks(summary), *_canaries(manifest)]
    if rows := ways_rows(summary):
        note = "Calls and cost by the way that they went; answers of earlier runs are not in it."
        found.append(ReportTable("ways", "Batch and online", note, ("what", "paid"), rows))
    return [*found, _quota(quota)] if quota.get("app_ids") else found


def _checks(summary: Summary) -> ReportTable:
    head = (
        "check", "model", "calls", "failed", "unreadable", "comments", "kept", "confirmed", "rate",
        "only by it", "no line", "tokens in", "cached", "tokens out", "cost", "per confirmed",
    )  # fmt: skip
    note = (
        "Kept: by the policy. Rate: confirmed of those judged, uncertain ones included. Only by it: confirmed issues that no other check "
        "raised. Unreadable: replies that no parser could use. Cached: share of the tokens in that the "
        "provider's cache served; empty where no reply told."
    )
    rows = [_check_row(one) for one in summary.models]
    return ReportTable("checks", "Checks and review", note, head, rows)


def _canaries(manifest: RunFacts) -> list[ReportTable]:
    facts = manifest.get("canaries")
    if not facts:
        return []
    rows = canary_rows(facts)
    return [ReportTable("canaries", "Canaries", canary_note(facts), CANARY_HEAD, rows)]


def _check_row(one: ModelFigures) -> tuple[str, ...]:
    rate = "" if one.confirmed_rate is None else f"{one.confirmed_rate:.0%}"
    counts = (one.calls, one.failed, one.unreadable, one.comments, one.kept, one.confirmed)
    return (
        one.name,
        one.model,
        *(f"{count:,}" for count in counts),
        rate,
        f"{one.unique_confirmed:,}",
        f"{one.unanchored:,}",
        _number(one.input_tokens),
        "" if one.cached_share is None else f"{one.cached_share:.0%}",
        _number(one.output_tokens),
        _money(one.cost_usd),
        _money(one.cost_per_confirmed) if one.confirmed else "",
    )


def _quota(quota: QuotaProof) -> ReportTable:
    rows: Sequence[Mapping[str, Any]] = quota["app_ids"]
    head = tuple(rows[0])
    shown = [tuple(_shown(row.get(name)) for name in head) for row in rows]
    return ReportTable("quota", "Quota proof", quota_sentence(quota), head, shown)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if whole or isinstance(value, float) else str(value)


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _money(value: float | None) -> str:
    return "unknown" if value is None else f"${value:,.4f}"
