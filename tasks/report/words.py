"""Sentences that the report says in Markdown and in HTML alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tasks.core.manifest import CommitFacts, RunFacts
from tasks.core.quotas import is_loopback
from tasks.core.records import SEVERITIES
from tasks.core.upstream_facts import BudgetRow, QuotaProof
from tasks.report.summary import Summary

__all__ = [
    "budget_text",
    "cost_text",
    "coverage_text",
    "listed",
    "origin_text",
    "quota_sentence",
    "range_text",
    "warnings_of",
    "ways_rows",
]

_SHORT = 7
"""Of a commit's name."""
_NO_WINDOW = "no limit"
"""What the quota proof has for an app_id without a window of requests."""
_WAYS = {"batch": "by batch", "flex": "as flex"}
_MOST_WORDS = 8
"""Of a model's own words for a severity, those that are listed."""


def range_text(commits: CommitFacts) -> str:
    """`1a2b3c4..5d6e7f8`."""
    return f"{commits['base'][:_SHORT]}..{commits['head'][:_SHORT]}"


def origin_text(manifest: RunFacts) -> str:
    """`commits 1a2b3c4..5d6e7f8 in 12 files, started Tue 24 Nov 2026 01:30 UTC, run 20261124T013000-abc123`."""
    started = datetime.fromisoformat(manifest["started_at"]).astimezone(UTC)
    parts = [f"started {started:%a %d %b %Y %H:%M} UTC", f"run {manifest['run_id']}"]
    if commits := manifest.get("commits"):
        parts.insert(0, f"commits {range_text(commits)} in {commits['files']:,} files")
    if (limit := manifest.get("limit")) is not None:
        parts.append(f"only the first {limit:,} inputs (--limit)")
    return ", ".join(parts)


def listed(counts: Mapping[str, int], skip: Sequence[str] = ()) -> str:
    """Counts as a list, `3 timeout, 1 content_filter`; zeros are left out."""
    return ", ".join(
        f"{count:,} {name}" for name, count in counts.items() if count and name not in skip
    )


def quota_sentence(quota: QuotaProof) -> str:
    """The quota proof in two sentences; without any window there is no best time to compare with."""
    rows = quota["app_ids"]
    limited = not rows or any(one.get("most in a window") != _NO_WINDOW for one in rows)
    kept = _kept(quota) if limited else "no app_id has a window of requests"
    best = f", at best {quota['optimum_s']:,.1f} s" if limited else ""
    return (
        f"{quota['sends']:,} sends, {quota['rate_limited']:,} answered with 429, {kept}."
        f"{_tokens(quota.get('over_tokens', []))} First send to last: {quota['span_s']:,.1f} s{best}."
    )


def _tokens(over: Sequence[str]) -> str:
    if not over:
        return ""
    return (
        f" Replies used more tokens than were reserved for them, so a window held {'; '.join(over)}:"
        " raise expected_tokens to what replies take."
    )


def _kept(quota: QuotaProof) -> str:
    raised = "; ".join(quota.get("raised", []))
    beside = f" (an operator's limit was above review.toml's: {raised})" if raised else ""
    if quota.get("exceeded", not quota["kept"]):
        return f"A WINDOW WAS EXCEEDED{beside}"
    if quota["rate_limited"]:
        return (
            f"no window held more than its limit{beside}, and yet there were 429s: the provider allows "
            "less than `quota` says, or others use these keys"
        )
    return f"no window of requests held more of our sends than the limit in force{beside}"


def cost_text(dollars: float | None, gap: str | None, digits: int = 2) -> str:
    """`$2.02`, `over $1.01 (1 of 2 models has no price)` or `unknown (...)`; without calls `$0.00`."""
    note = f" ({gap})" if gap else ""
    if dollars is None and gap:
        return f"unknown{note}"
    dollars = dollars or 0.0
    return f"{'over ' if gap else ''}${dollars:,.{digits}f}{note}"


def coverage_text(coverage: Mapping[str, int]) -> str:
    """`20 complete, 3 in part`: how many inputs were reviewed how."""
    return listed({name.replace("_", " "): count for name, count in coverage.items()})


def ways_rows(summary: Summary) -> list[tuple[str, str]]:
    """A row for each way that calls went, `by batch`, `1,200 calls, $1.40`; none where all went online."""
    if not set(summary.ways) - {"online"}:
        return []
    rows = []
    for way, one in summary.ways.items():
        cost = "cost unknown" if one.cost_usd is None else f"${one.cost_usd:,.4f}"
        tokens = f"{one.input_tokens or 0:,} tokens in, {one.output_tokens or 0:,} out"
        rows.append((f"paid {_WAYS.get(way, way)}", f"{one.calls:,} calls, {tokens}, {cost}"))
    return rows


def budget_text(row: BudgetRow) -> str:
    """`budget.usd: $12.30 of $20.00, 62 %`, and whether calls were left for it."""
    dollars = row["cap"].endswith("usd")
    spent, limit = (
        f"${one:,.2f}" if dollars else f"{one:,.0f}" for one in (row["spent"], row["limit"])
    )
    end = "; calls were left for it" if row["reached"] else ""
    return f"{row['cap']}: {spent} of {limit}, {row['share']:.0%}{end}"


def warnings_of(manifest: RunFacts, summary: Summary) -> list[str]:
    """What a reader has to know before the figures, one sentence each."""
    found = [
        f"{one.name} ({one.model}): replies cut at their length: {one.truncated:,}; raise its "
        "max_tokens, and the next run asks those anew."
        for one in summary.models
        if one.truncated
    ]
    found += [
        f"{one.name} ({one.model}): comments whose severity is none of {', '.join(SEVERITIES)}, and "
        f"counts as medium: {sum(one.unknown_severities.values()):,} ({_said(one.unknown_severities)})."
        for one in summary.models
        if one.unknown_severities
    ]
    app_ids = manifest["settings"].get("app_ids", {}).values()
    if summary.loopback and not any(is_loopback(one.get("base_url", "")) for one in app_ids):
        found.append(
            f"Answers from the journal that were given on this machine's own address, as by a "
            f"rehearsal: {summary.loopback:,}; today's endpoints are elsewhere. Run with --fresh to ask them."
        )
    return found


def _said(words: Mapping[str, int]) -> str:
    """The words that a model used, most frequent first: `3 "dire", 1 without one`."""
    order = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    parts = [
        f'{count:,} "{word}"' if word else f"{count:,} without one"
        for word, count in order[:_MOST_WORDS]
    ]
    rest = sum(count for _, count in order[_MOST_WORDS:])
    return ", ".join([*parts, f"{rest:,} others"] if rest else parts)
