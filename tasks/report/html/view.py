"""Facts -> the words and numbers that the template shows. No markup here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.core.records import SEVERITIES
from tasks.report.html.gathered import Gathered
from tasks.report.summary import ModelFigures, Summary

__all__ = [
    "Cell",
    "Table",
    "cards",
    "findings_note",
    "problems",
    "tables",
]

Facts = Mapping[str, Any]

_SECOND = 1000.0


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure and what it is about."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of figures."""

    id: str
    title: str
    note: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def cards(manifest: Facts, summary: Summary, found: Gathered) -> list[Cell]:
    """The totals at the top."""
    counts = manifest["counts"]
    comments, cells = counts["comments"], counts["cells"]
    cost = "unknown" if summary.cost_usd is None else f"${summary.cost_usd:,.2f}"
    worst = ", ".join(f"{found.count(one):,} {one}" for one in SEVERITIES[:2])
    return [
        Cell("inputs", f"{counts['inputs']:,}", listed(counts["coverage"])),
        Cell("findings", f"{found.total:,}", f"{worst}; in {found.inputs:,} inputs"),
        *_news(manifest.get("history")),
        Cell("comments", f"{comments['raised']:,}", listed(comments, skip=("raised",))),
        Cell("cells", f"{cells['planned']:,}", listed(cells, skip=("planned",))),
        Cell("calls sent", f"{summary.calls:,}", f"{summary.journaled:,} from the journal"),
        Cell("latency", _latency(summary), f"95th percentile; {summary.retries:,} retries"),
        Cell("cost", cost, "US dollars" if summary.cost_usd is not None else "no prices given"),
        Cell("time", _duration(manifest["seconds"]), f"{_rate(manifest)} inputs a minute"),
    ]


def _news(history: Facts | None) -> list[Cell]:
    if history is None:
        return []
    told = {name: history[name] for name in ("recurring", "gone", "dropped", "unknown")}
    return [Cell("new findings", f"{history['new']:,}", listed(told))]


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


def _rate(manifest: Facts) -> str:
    return f"{60 * manifest['counts']['inputs'] / max(manifest['seconds'], 0.001):,.0f}"


def problems(manifest: Facts) -> list[Cell]:
    """What keeps the night from being whole, by reason; empty when there is nothing."""
    counts = manifest["counts"]
    kinds = {
        "cells failed": counts["failed_by_reason"],
        "cells skipped": counts["skipped_by_reason"],
        "rows rejected": manifest["rejected"]["reasons"],
    }
    return [
        Cell(kind, f"{sum(reasons.values()):,}", listed(reasons))
        for kind, reasons in kinds.items()
        if reasons
    ]


def listed(counts: Mapping[str, int], skip: Sequence[str] = ()) -> str:
    """`3 timeout, 1 content_filter`; zeros are left out."""
    return ", ".join(
        f"{count:,} {name}" for name, count in counts.items() if count and name not in skip
    )


def findings_note(found: Gathered) -> str:
    """What the table holds, and what it does not."""
    if not found.total:
        note = "Nothing to show: no comment was kept."
    else:
        note = "Worst first. Open one to see the code, the reason and the suggested change."
    more = found.total - len(found.worst)
    if more:
        note += (
            f" The worst {len(found.worst):,} are listed, and {more:,} more in comments.parquet."
        )
    if found.suppressed:
        note += f" {found.suppressed:,} known false positives are left out."
    return note


def tables(summary: Summary, quota: Facts) -> list[Table]:
    """The tables of figures below the findings."""
    found = [_checks(summary)]
    return [*found, _quota(quota)] if quota.get("app_ids") else found


def _checks(summary: Summary) -> Table:
    head = (
        "check", "model", "calls", "failed", "unreadable", "comments", "confirmed", "rate",
        "only by it", "no line", "tokens in", "tokens out", "cost", "per confirmed",
    )  # fmt: skip
    note = (
        "Rate: confirmed of confirmed and rejected. Only by it: confirmed issues that no other check "
        "raised. Unreadable: replies that no parser could use."
    )
    rows = [_check_row(one) for one in summary.models]
    return Table("checks", "Checks and review", note, head, rows)


def _check_row(one: ModelFigures) -> tuple[str, ...]:
    rate = "" if one.confirmed_rate is None else f"{one.confirmed_rate:.0%}"
    counts = (one.calls, one.failed, one.unreadable, one.comments, one.confirmed)
    return (
        one.name,
        one.model,
        *(f"{count:,}" for count in counts),
        rate,
        f"{one.unique_confirmed:,}",
        f"{one.unanchored:,}",
        _number(one.input_tokens),
        _number(one.output_tokens),
        _money(one.cost_usd),
        _money(one.cost_per_confirmed) if one.confirmed else "",
    )


def _quota(quota: Facts) -> Table:
    rows = quota["app_ids"]
    head = tuple(rows[0])
    kept = "no window was ever exceeded" if quota["kept"] else "A WINDOW WAS EXCEEDED"
    note = (
        f"{quota['sends']:,} sends, {quota['rate_limited']:,} answered with 429, {kept}. First send "
        f"to last: {quota['span_s']:,.1f} s, at best {quota['optimum_s']:,.1f} s."
    )
    shown = [tuple(_shown(row.get(name)) for name in head) for row in rows]
    return Table("quota", "Quota proof", note, head, shown)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if whole or isinstance(value, float) else str(value)


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _money(value: float | None) -> str:
    return "unknown" if value is None else f"${value:,.4f}"
