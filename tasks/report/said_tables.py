"""Tables with words of others, or of several repositories: the same for Markdown and HTML."""

from __future__ import annotations

from tasks.core.manifest import RunFacts
from tasks.report.repositories import repository_tables
from tasks.report.team_rules import rule_tables
from tasks.report.upstream import ReportTable, upstream_tables

__all__ = ["said_tables"]


def said_tables(manifest: RunFacts) -> list[ReportTable]:
    """Repositories; what failed, was held, closed and adapted, with the providers' words; rules."""
    return [*repository_tables(manifest), *upstream_tables(manifest), *rule_tables(manifest)]
