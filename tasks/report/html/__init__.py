"""The report as one HTML file that needs nothing else: no network, no server, no other file."""

from __future__ import annotations

from tasks.report.html.gathered import Gathered, gather
from tasks.report.html.page import Report, TableLibrary, render
from tasks.report.html.series import CALL_COLUMNS, COMMENT_COLUMNS

__all__ = [
    "CALL_COLUMNS",
    "COMMENT_COLUMNS",
    "Gathered",
    "Report",
    "TableLibrary",
    "gather",
    "render",
]
