"""Each repository of a run of several: rows of a table, the same for Markdown and HTML."""

from __future__ import annotations

from tasks.core.manifest import RunFacts
from tasks.report.upstream import UpstreamTable
from tasks.report.words import coverage_text, listed

__all__ = ["repository_tables"]

_SHORT = 7


def repository_tables(manifest: RunFacts) -> list[UpstreamTable]:
    """One table, or none when the source was a single one."""
    rows = [
        (
            *(one["repo"], _range(one["commits"]["base"], one["commits"]["head"])),
            *(f"{one['inputs']:,}", coverage_text(one["coverage"])),
            *(listed(one["findings"]) or "none", listed(one["ages"])),
        )
        for one in manifest.get("repositories", [])
    ]
    if not rows:
        return []
    note = "One run, one quota; each repository with its own range, rules and history."
    head = ("repository", "commits", "inputs", "of which", "findings", "since the last run")
    return [UpstreamTable("repositories", "Repositories", note, head, rows)]


def _range(base: str, head: str) -> str:
    return f"{base[:_SHORT]}..{head[:_SHORT]}"
