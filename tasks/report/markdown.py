"""The report as Markdown: sections in the order in which a person asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.core.manifest import HISTORY_COUNTS, GoneFinding, HistoryFacts, RunFacts
from tasks.core.records import CATEGORIES
from tasks.core.text_safety import markdown_cell, markdown_line
from tasks.core.upstream_facts import QuotaProof
from tasks.report.canaries import CANARY_HEAD, canary_lines, canary_note, canary_rows
from tasks.report.findings import FindingsSummary
from tasks.report.highlights import Highlight, Highlights, highlights
from tasks.report.said_tables import said_tables
from tasks.report.summary import ModelFigures, Summary
from tasks.report.upstream import ReportTable
from tasks.report.words import (
    budget_text,
    cost_text,
    coverage_text,
    listed,
    origin_text,
    quota_sentence,
    warnings_of,
    ways_rows,
)

__all__ = ["markdown_table", "report_text"]

_REVIEW = "review"
"""What the review stage is called in calls.parquet."""
_WIDEST = 8
"""Columns of a table that fits a page."""
_GONE = 20
"""Findings that are gone and listed; the manifest has more of them."""


def report_text(
    manifest: RunFacts,
    summary: Summary,
    quota: QuotaProof,
    findings: FindingsSummary,
    in_part: Sequence[tuple[str, str]] = (),
) -> str:
    """The report of a run as Markdown; `in_part` are ids and reasons of inputs reviewed in part."""
    sections = [
        _header(manifest),
        "\n".join(f"- {markdown_line(one)}" for one in canary_lines(manifest)),
        "\n".join(f"- {markdown_line(one)}" for one in warnings_of(manifest, summary)),
        _first(highlights(findings, manifest.get("history"))),
        *_said(manifest),
        _history(manifest.get("history")),
        _findings(findings.by_severity),
        _coverage(manifest),
        _in_part(in_part, manifest["counts"]["coverage"].get("in_part", 0)),
        _checks(summary),
        _review(summary),
        _upstream(summary),
        _canaries(manifest),
        _quota(quota),
        _budget(manifest),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _header(manifest: RunFacts) -> str:
    seconds, inputs = manifest["seconds"], manifest["counts"]["inputs"]
    facts = [
        markdown_line(origin_text(manifest)),
        f"{seconds:,.0f} s, {inputs * 60 / max(seconds, 0.001):,.0f} inputs per minute",
        f"prompts {manifest['prompt_version'][:12]}",
    ]
    if manifest.get("flow_run_url"):
        facts.append(f"[flow run]({manifest['flow_run_url']})")
    source = markdown_line(manifest["source"])
    return f"# Review of {source}\n\n**{markdown_line(manifest['result'])}**\n\n{'; '.join(facts)}."


def _first(first: Highlights) -> str:
    """Counts of the findings, and those to read first, a line each."""
    severities = ", ".join(chip.text for chip in first.chips if chip.kind != "age")
    ages = ", ".join(chip.text for chip in first.chips if chip.kind == "age")
    parts = [
        f"## {first.title}",
        "; ".join(text for text in (severities, ages) if text),
        "\n".join(map(_first_line, first.listed)),
        f"And {first.more:,} more in report.html." if first.more else first.note,
    ]
    return "\n\n".join(part for part in parts if part)


def _first_line(one: Highlight) -> str:
    age = ", new" if one.is_new else ""
    place = markdown_line(f"{one.path}, {one.place}")
    return f"- **{one.severity}**{age}: {markdown_line(one.title)} ({place})"


def _coverage(manifest: RunFacts) -> str:
    counts = manifest["counts"]
    cells, comments, cut = counts["cells"], counts["comments"], counts.get("cut_by_reason", {})
    rows = [
        ("inputs", counts["inputs"], coverage_text(counts["coverage"])),
        ("rows rejected", manifest["rejected"]["rows"], listed(manifest["rejected"]["reasons"])),
        ("checks and reviews", cells["planned"], listed(cells, skip=("planned",))),
        ("of them failed", cells["failed"], listed(counts["failed_by_reason"])),
        ("of them skipped", cells["skipped"], listed(counts["skipped_by_reason"])),
        ("replies cut", sum(cut.values()), listed(cut)),
        ("comments", comments["raised"], listed(comments, skip=("raised",))),
        ("of them dropped", comments["dropped"], listed(counts["dropped_by_reason"])),
    ]
    told = [row for row in rows if row[1] or row[0] == "inputs"]
    return "## Coverage\n\n" + markdown_table(("what", "count", "of which"), told)


def _said(manifest: RunFacts) -> list[str]:
    return [
        f"## {one.title}\n\n{markdown_line(one.note)}\n\n{_rows_of(one)}"
        for one in said_tables(manifest)
    ]


def _rows_of(table: ReportTable) -> str:
    """The table, or a line per row where its words would make it wider than the page."""
    if table.worded:
        return "\n".join(_worded(table.head, row) for row in table.rows)
    return markdown_table(table.head, table.rows)


def _worded(head: Sequence[str], row: Sequence[str]) -> str:
    """`- calls 2, reason timeout, model m: what was said`."""
    facts = zip(head[:-1], row[:-1], strict=True)
    told = ", ".join(f"{name} {value}" for name, value in facts if value)
    return f"- {markdown_line(told)}: {markdown_line(row[-1])}"


def _in_part(rows: Sequence[tuple[str, str]], count: int) -> str:
    if not rows:
        return ""
    more = f"\n\nAnd {count - len(rows):,} more." if count > len(rows) else ""
    note = "Too large for the calls that an input may take; a rerun would leave out the same."
    lines = "\n".join(f"- {markdown_line(name)}: {markdown_line(why)}" for name, why in rows)
    return f"## Reviewed in part\n\n{note}\n\n{lines}{more}"


def _findings(severities: Mapping[str, Mapping[str, int]]) -> str:
    if not severities:
        return ""
    used = [one for one in CATEGORIES if any(one in row for row in severities.values())]
    rows = [(severity, *(row.get(one, 0) for one in used)) for severity, row in severities.items()]
    return "## Findings by category\n\n" + markdown_table(("severity", *used), rows)


def _history(history: HistoryFacts | None) -> str:
    if history is None:
        return ""
    counts = [history[name] for name in HISTORY_COUNTS]
    table = markdown_table(HISTORY_COUNTS, [counts])
    text = f"## Findings since run {history['run_id']}\n\n{table}"
    gone = history["worst_gone"][:_GONE]
    if not gone:
        return text
    lines = "\n".join(map(_gone_line, gone))
    more = history["gone"] - len(gone)
    note = f"\n\nAnd {more:,} more." if more else ""
    return f"{text}\n\nGone:\n\n{lines}{note}"


def _gone_line(one: GoneFinding) -> str:
    return f"- {one['severity']} {one['category']}: {markdown_line(one['title'])} ({markdown_line(one['path'])})"


def _canaries(manifest: RunFacts) -> str:
    facts = manifest.get("canaries")
    if not facts:
        return ""
    return (
        f"## Canaries\n\n{canary_note(facts)}\n\n{markdown_table(CANARY_HEAD, canary_rows(facts))}"
    )


def _checks(summary: Summary) -> str:
    head = (
        "check", "model", "calls", "failed", "parse failures", "comments", "kept",
        "confirmed", "confirmed rate", "unique confirmed", "without a place", "tokens in", "of them cached",
        "tokens out", "cost $", "$ per confirmed",
    )  # fmt: skip
    rows = [_check_row(one) for one in summary.models if one.name != _REVIEW]
    note = (
        "Kept: by the policy. Unique confirmed: no other check raised it, so without this check it would be missed. "
        "Confirmed rate: of its comments that were judged, uncertain ones included. Tokens and cost: "
        "what this run paid for."
    )
    return f"## Check models\n\n{markdown_table(head, rows)}\n\n{note}"


def _check_row(one: ModelFigures) -> tuple[Any, ...]:
    rate = None if one.confirmed_rate is None else f"{one.confirmed_rate:.0%}"
    return (
        one.name, one.model, one.calls, one.failed, one.unreadable, one.comments, one.kept,
        one.confirmed, rate,
        one.unique_confirmed, one.unanchored, one.input_tokens, _cached(one), one.output_tokens,
        _cost(one), _money(one.cost_per_confirmed),
    )  # fmt: skip


def _review(summary: Summary) -> str:
    models = [one for one in summary.models if one.name == _REVIEW]
    if not models:
        return ""
    judged = sum(summary.decisions.values())
    rows = [
        (decision, count, f"{count / judged:.0%}", _score(summary.scores.get(decision)))
        for decision, count in summary.decisions.items()
    ]
    verdicts = markdown_table(("decision", "comments", "share", "mean score"), rows)
    head = (
        "model", "calls", "failed", "parse failures", "tokens in", "of them cached", "tokens out",
        "cost $",
    )  # fmt: skip
    costs = markdown_table(head, [_review_row(one) for one in models])
    return f"## Review model\n\n{verdicts}\n\n{costs}"


def _review_row(one: ModelFigures) -> tuple[Any, ...]:
    return (
        one.model, one.calls, one.failed, one.unreadable, one.input_tokens, _cached(one),
        one.output_tokens, _cost(one),
    )  # fmt: skip


def _cached(one: ModelFigures) -> str | None:
    return None if one.cached_share is None else f"{one.cached_share:.0%}"


def _cost(one: ModelFigures) -> str | None:
    text = _money(one.cost_usd)
    return f"over {text}" if text and one.unknown_costs else text


def _score(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}"


def _upstream(summary: Summary) -> str:
    rows = [
        ("calls made", summary.calls),
        ("answered by the journal", summary.journaled),
        ("retries", summary.retries),
        *_seconds("latency", summary.latency_ms),
        *_seconds("quota wait", summary.queue_ms),
        ("quota wait, all calls", f"{summary.queue_s:,.0f} s"),
        ("first call to last", None if summary.span_s is None else f"{summary.span_s:,.1f} s"),
        ("cost", cost_text(summary.cost_usd, summary.cost_gap, 4)),
        *ways_rows(summary),
    ]
    return "## Upstream\n\n" + markdown_table(("what", "value"), rows)


def _seconds(what: str, values: Mapping[str, float]) -> list[tuple[str, str]]:
    return [(f"{what} {name}", f"{value / 1000:.2f} s") for name, value in values.items()]


def _quota(quota: QuotaProof) -> str:
    rows: Sequence[Mapping[str, Any]] = quota["app_ids"]
    names = list(rows[0]) if rows else ["app_id"]
    table = markdown_table(names, [[row[name] for name in names] for row in rows])
    return f"## Quota proof\n\n{quota_sentence(quota)}\n\n{table}"


def _budget(manifest: RunFacts) -> str:
    lines = [f"- {budget_text(row)}" for row in manifest.get("budget", ())]
    note = "Calls under way when a process died count as estimated; days are UTC."
    return "## Budget\n\n{}\n\n{}".format("\n".join(lines), note) if lines else ""


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as Markdown; numbers get thousands separators, None is an empty cell, text no markup.

    One of more than eight columns is several, each with the first column: it fits a page then.
    """
    found = list(rows)
    parts = max(1, -(-(len(head) - 1) // (_WIDEST - 1)))
    size = -(-(len(head) - 1) // parts)
    spans = [slice(1 + at * size, 1 + (at + 1) * size) for at in range(parts)]
    return "\n\n".join(
        _table((head[0], *head[span]), [(row[0], *row[span]) for row in found]) for span in spans
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(map(markdown_cell, head)) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return markdown_cell(str(value))


def _money(value: float | None) -> str | None:
    return None if value is None else f"{value:,.4f}"
