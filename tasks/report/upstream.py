"""What providers said and wanted during a run: rows of tables, the same for Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tasks.core.failures import failure_words, local_time
from tasks.core.manifest import RunFacts
from tasks.core.upstream_facts import FailureFacts, UpstreamFacts

__all__ = ["ReportTable", "upstream_tables"]


class ReportTable(NamedTuple):
    """A table with plain cells; the words in it are others'."""

    id: str
    title: str
    note: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    worded: bool = False
    """The last column has sentences of others, of any length: no table of Markdown, which does not break lines."""


def upstream_tables(manifest: RunFacts) -> list[ReportTable]:
    """The tables that have rows; none for a run that met nothing, or from before it was kept."""
    facts = manifest.get("upstream")
    found = [] if facts is None else _tables(facts)
    return [table for table in [*found, _batches(manifest)] if table.rows]


def _batches(manifest: RunFacts) -> ReportTable:
    rows = [
        (
            *(one["batch_id"], one["model"], one["app_id"], one["state"]),
            f"{one['answered']:,} of {one['requests']:,}",
            f"{one['refused']:,}",
            "late, the rest went online" if one["late"] else "",
        )
        for one in manifest.get("batches", [])
    ]
    note = (
        "Files of questions that the provider's Batch API answered, also for a run before this one. "
        "What has no answer in them was asked again."
    )
    head = ("batch", "model", "app_id", "state", "answered", "refused", "note")
    return ReportTable("batches", "Batches", note, head, rows)


def _said(one: FailureFacts) -> str:
    if one["is_reply"]:
        return f"a reply that could not be read: {one['said']}"
    return failure_words(one)


def _tables(facts: UpstreamFacts) -> list[ReportTable]:
    goes_on = facts["goes_on_at"]
    again = f" The first one can go on at {local_time(goes_on)}: run again then." if goes_on else ""
    failures = [
        (
            *(f"{one['calls']:,}", one["reason"], one["model"] or "", one["endpoint"] or ""),
            _said(one),
        )
        for one in facts["failures"]
    ]
    closed = [(one["model"], one["endpoint"], one["said"]) for one in facts["closed"]]
    holds = [
        (
            *(one["app_id"], local_time(one["seen"])),
            local_time(one["until"]) if one["until"] else "lower limit",
            one["said"],
        )
        for one in facts["holds"]
    ]
    return [
        ReportTable(
            *("failures", "Failed calls", "With one example of what was said."),
            ("calls", "reason", "model", "endpoint", "said"),
            failures,
            worded=True,
        ),
        ReportTable(
            *("closed", "Models that are closed"),
            "Refused whatever was asked, so no more was sent; a later run asks once more.",
            ("model", "endpoint", "last words"),
            closed,
            worded=True,
        ),
        ReportTable(
            *(
                "holds",
                "Holds and lowered limits",
                f"As providers said while the run went on.{again}",
            ),
            ("app_id", "seen", "until", "said"),
            holds,
            worded=True,
        ),
        ReportTable(
            *(
                "adapted",
                "Adapted requests",
                "What is sent otherwise, because the endpoint wants it.",
            ),
            ("model", "otherwise"),
            list(facts["adapted"].items()),
            worded=True,
        ),
    ]
