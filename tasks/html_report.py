"""A finished run's tables -> report.html, one file that opens anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.core.errors import OutputError
from tasks.core.html import (
    CALL_COLUMNS,
    COMMENT_COLUMNS,
    Report,
    TableLibrary,
    gather,
    render,
)
from tasks.core.outputs import Output
from tasks.core.paths import RunPaths
from tasks.core.summary import CALL_COLUMNS as SUMMARY_CALLS
from tasks.core.summary import COMMENT_COLUMNS as SUMMARY_COMMENTS
from tasks.core.summary import summarise
from tasks.files import atomic, sha256
from tasks.findings import read_findings

__all__ = ["write_html"]


def write_html(paths: RunPaths, manifest: Mapping[str, Any], quota: Mapping[str, Any]) -> Output:
    """Write report.html beside the tables.

    `manifest` and `quota` are what manifest.json holds. `rows` of the result are the findings in
    the table, which are the worst ones of a large night.

    Raises:
        OutputError: a table is missing or damaged, or the folder cannot be written.
    """
    report = _read(paths, manifest, quota)
    with atomic(paths.html) as file:
        file.write(render(report, _table_library()).encode())
    size = paths.html.stat().st_size
    return Output(paths.html.name, len(report.found.worst), size, sha256(paths.html))


def _read(paths: RunPaths, manifest: Mapping[str, Any], quota: Mapping[str, Any]) -> Report:
    found = gather(read_findings(paths))
    calls = _columns(paths, "calls", *SUMMARY_CALLS, *CALL_COLUMNS)
    comments = _columns(paths, "comments", *SUMMARY_COMMENTS, *COMMENT_COLUMNS)
    return Report(manifest, summarise(calls, comments), quota, found, calls, comments)


def _columns(paths: RunPaths, name: str, *columns: str) -> pd.DataFrame:
    return pd.read_parquet(paths.table(name), columns=list(dict.fromkeys(columns)))


@cache
def _table_library() -> TableLibrary:
    """DataTables as the package itables carries it; the package itself is not imported."""
    spec = find_spec("itables")
    if spec is None or spec.origin is None:
        msg = "the package itables is missing: install the project with its requirements"
        raise OutputError(msg)
    folder = Path(spec.origin).parent / "html"
    script, style = (folder / name for name in ("dt_bundle.js", "dt_bundle.css"))
    return TableLibrary(script.read_text("utf-8"), style.read_text("utf-8"))
