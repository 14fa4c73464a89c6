"""The report as one HTML file that needs nothing else: no network, no server, no other file."""

from __future__ import annotations

from tasks.report.html.context import read_contexts
from tasks.report.html.page import Report, TableLibrary, render
from tasks.report.html.series import CHART_CALL_COLUMNS, CHART_COMMENT_COLUMNS

__all__ = [
    "CHART_CALL_COLUMNS",
    "CHART_COMMENT_COLUMNS",
    "Report",
    "TableLibrary",
    "read_contexts",
    "render",
]
