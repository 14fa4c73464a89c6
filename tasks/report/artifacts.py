"""
Artifacts of a run in the Prefect UI. The keys never change, so each has its history over the runs:

    bulk-review-report          the report
    bulk-review-failed-cells    the first failed cells, and how many there are
    bulk-review-top-findings    the worst findings
    bulk-review-outputs         the files, with rows, bytes and checksums
    bulk-review-report-file     a link to the report beside the outputs

A server that cannot take one now costs nothing: everything is in the output folder as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import pyarrow.dataset as ds
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from tasks.core.failures import failure_sentence
from tasks.core.manifest import RunFacts
from tasks.core.paths import RunPaths
from tasks.core.text_safety import markdown_line
from tasks.outputs.findings import read_findings
from tasks.outputs.schemas import Output
from tasks.report.links import report_link
from tasks.report.server_health import server_answers
from tasks.report.ui_tables import FAILED_CALL_COLUMNS, failed_call_row, top_findings

__all__ = ["show_run"]

_LOG = logging.getLogger(__name__)
_MAX_GROUPS = 5
"""Groups of failed calls over the table."""
_MAX_ROWS = 100
"""Rows of a table: an artifact is one row of Prefect's database, and read in a browser."""


def show_run(paths: RunPaths, manifest: RunFacts, outputs: Sequence[Output], text: str) -> None:
    """Make all artifacts of a finished run, inside its flow run."""
    if not server_answers():
        _LOG.warning("no artifact was made: Prefect's server does not answer")
        return
    result, link = manifest["result"], report_link(paths)
    if link:
        text = text.replace("\n\n", f"\n\n[The whole report]({link})\n\n", 1)
    steps: dict[str, Callable[..., object]] = {
        "bulk-review-report": partial(create_markdown_artifact, text, description=result),
        "bulk-review-failed-cells": partial(_failed_cells, paths, manifest),
        "bulk-review-top-findings": partial(_top_findings, paths),
        "bulk-review-outputs": partial(_outputs, paths, outputs),
        "bulk-review-report-file": partial(_report_file, paths),
    }
    for key, step in steps.items():
        try:
            step(key=key)
        except Exception as error:  # noqa: BLE001 - a missing picture must not cost the run
            _LOG.warning("artifact %s was not made: %s", key, error)


def _failed_cells(paths: RunPaths, manifest: RunFacts, *, key: str) -> None:
    calls = ds.dataset(paths.table("calls"), format="parquet")
    failed = ds.field("status") == "failed"
    rows = calls.head(_MAX_ROWS, columns=list(FAILED_CALL_COLUMNS), filter=failed).to_pylist()
    reasons = manifest["counts"]["failed_by_reason"]
    total = manifest["counts"]["cells"]["failed"]
    why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    text = f"{total:,} cells failed: {why}" if total else "no cell failed"
    upstream = manifest.get("upstream")
    for one in upstream["failures"][:_MAX_GROUPS] if upstream else ():
        text += f"; {markdown_line(failure_sentence(one))}"
    create_table_artifact(
        [failed_call_row(row) for row in rows], key=key, description=text + _bound(len(rows), total)
    )


def _top_findings(paths: RunPaths, *, key: str) -> None:
    rows, total = top_findings(read_findings(paths), _MAX_ROWS)
    text = f"{total:,} findings, the worst first" if total else "no findings"
    create_table_artifact(rows, key=key, description=text + _bound(len(rows), total))


def _bound(shown: int, total: int) -> str:
    return f"; {shown:,} are shown, all are in the Parquet files" if shown < total else ""


def _outputs(paths: RunPaths, outputs: Sequence[Output], *, key: str) -> None:
    rows = [
        {
            "file": one.name,
            "rows": one.rows,
            "bytes": one.bytes,
            "path": paths.display_path(one.name),
            "sha256": one.sha256,
        }
        for one in outputs
    ]
    create_table_artifact(rows, key=key, description=f"written to {paths.place}")


def _report_file(paths: RunPaths, *, key: str) -> None:
    target = paths.html if paths.html.exists() else paths.report
    # Without a server for it, it names the place: no browser follows a file: link of a web page.
    link = report_link(paths) or target.as_uri()
    create_link_artifact(
        link, link_text=target.name, key=key, description=f"beside the outputs, {target}"
    )
