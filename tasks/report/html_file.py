"""A finished run's tables -> report.html, one file that opens anywhere."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tasks.core.errors import OutputError
from tasks.core.files import atomic, sha256
from tasks.core.manifest import RunFacts
from tasks.core.paths import RunPaths
from tasks.core.upstream_facts import QuotaProof
from tasks.outputs.schemas import Output
from tasks.report.findings import FindingsSummary
from tasks.report.frames import Frames
from tasks.report.html import Report, TableLibrary, read_contexts, render
from tasks.report.summary import Summary

__all__ = ["write_html"]


def write_html(
    paths: RunPaths,
    manifest: RunFacts,
    quota: QuotaProof,
    frames: Frames,
    summary: Summary,
    *,
    findings: FindingsSummary,
) -> Output:
    """Write report.html beside the tables.

    `rows` of the result are the findings in the table, which are the worst ones of a large run.

    Raises:
        OutputError: a table is missing or damaged, or the folder cannot be written.
    """
    contexts = read_contexts(paths, findings.worst, manifest["settings"].get("link"))
    report = Report(manifest, summary, quota, findings, contexts, *frames)
    with atomic(paths.html) as file:
        file.write(render(report, _table_library()).encode())
    size = paths.html.stat().st_size
    return Output(paths.html.name, len(findings.worst), size, sha256(paths.html))


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
