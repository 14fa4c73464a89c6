"""Which of the team's rules applied to how many inputs: rows of a table, the same for Markdown and HTML."""

from __future__ import annotations

from tasks.core.manifest import RunFacts
from tasks.report.upstream import ReportTable

__all__ = ["rule_tables"]


def rule_tables(manifest: RunFacts) -> list[ReportTable]:
    """One table, or none when the run had no rules."""
    rules = manifest.get("rules", [])
    if not rules:
        return []
    rows = [
        (
            *(one["rule"], f"{one['inputs']:,}", _count(one["cut"]), _count(one["left_out"])),
            "changed here, holds from the next run on" if one["changed"] else "",
        )
        for one in rules
    ]
    note = (
        "Read from before the commits under review, for the files that they cover. Cut and left out: "
        "they were beyond max_rule_tokens."
    )
    head = ("rule", "inputs", "of them cut", "left out", "")
    return [ReportTable("rules", "Team rules", note, head, rows)]


def _count(number: int) -> str:
    return f"{number:,}" if number else ""
