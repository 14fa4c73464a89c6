"""Each repository of a run of several: rows of a table, the same for Markdown and HTML."""

from __future__ import annotations

from tasks.core.manifest import RunFacts
from tasks.report.upstream import ReportTable
from tasks.report.words import coverage_text, listed, range_text

__all__ = ["repository_tables"]


def repository_tables(manifest: RunFacts) -> list[ReportTable]:
    """One table, or none when the source was a single one."""
    rows = [
        (
            *(one["repo"], range_text(one["commits"])),
            *(f"{one['inputs']:,}", coverage_text(one["coverage"])),
            *(listed(one["findings"]) or "none", listed(one["ages"])),
        )
        for one in manifest.get("repositories", [])
    ]
    if not rows:
        return []
    note = "One run, one quota; each repository with its own range, rules and history."
    head = ("repository", "commits", "inputs", "of which", "findings", "since the last run")
    return [ReportTable("repositories", "Repositories", note, head, rows)]
