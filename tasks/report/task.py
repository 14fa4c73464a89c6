"""Stage 6: the finished tables -> report.html, report.md, manifest.json, all published, and artifacts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

import pyarrow.dataset as ds
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.core.files import atomic, publish, write_json
from tasks.core.manifest import RunFacts
from tasks.core.paths import RunPaths
from tasks.core.upstream_facts import QuotaProof
from tasks.outputs.findings import read_findings
from tasks.outputs.schemas import Output
from tasks.report.artifacts import show_run

__all__ = ["report", "write_report"]

_LOG = logging.getLogger(__name__)
_LISTED = 20
"""Inputs reviewed in part that the report names."""


_Written = tuple[str, list[str]]
"""The report, and what it warns of."""


@task(name="report", task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
def report(
    paths: RunPaths,
    manifest: RunFacts,
    outputs: list[Output],
    quota: QuotaProof,
    apart: Callable[[Callable[[], _Written]], _Written] | None = None,
) -> str:
    """Stage task: write the last files, publish all in `paths.root`, then show the report in the UI.

    Exports and an evaluation of an earlier run in the folder are removed: they are not of this one.
    `apart` calls what writes: frames and charts take 200 MB, which a process of its own gives back.

    Raises:
        OutputError: the folder cannot be written; an earlier run's outputs there are as they were.
    """
    made = partial(_write, paths.staged, manifest, outputs, quota)
    text, warnings = made() if apart is None else apart(made)
    for warning in warnings:
        _LOG.warning("%s", warning)
    publish(paths.staged.root, paths.root, paths.manifest.name, paths.optional_files)
    show_run(paths, manifest, outputs, text)
    return text


def write_report(
    paths: RunPaths, manifest: RunFacts, outputs: Sequence[Output], quota: QuotaProof
) -> str:
    """Write report.md and report.html, then manifest.json as the last file; returns the report.

    Raises:
        OutputError: the output folder cannot be written.
    """
    text, warnings = _write(paths, manifest, outputs, quota)
    for warning in warnings:
        _LOG.warning("%s", warning)
    return text


def _write(
    paths: RunPaths, manifest: RunFacts, outputs: Sequence[Output], quota: QuotaProof
) -> _Written:
    # Not imported in a process that has others do it: pandas and Vega take 120 MB.
    from tasks.report.findings import summarise_findings  # noqa: PLC0415
    from tasks.report.frames import read_frames  # noqa: PLC0415
    from tasks.report.html_file import write_html  # noqa: PLC0415
    from tasks.report.markdown import report_text  # noqa: PLC0415
    from tasks.report.summary import summarise  # noqa: PLC0415
    from tasks.report.words import warnings_of  # noqa: PLC0415

    frames = read_frames(paths)
    summary = summarise(*frames)
    findings = summarise_findings(read_findings(paths))
    text = report_text(manifest, summary, quota, findings, _in_part(paths))
    with atomic(paths.report) as file:
        file.write(text.encode())
    write_html(paths, manifest, quota, frames, summary, findings=findings)
    figures = asdict(summary) | {"severities": findings.by_severity, "quota": quota}
    files = {output.name: output.entry for output in outputs}
    write_json(paths.manifest, {**manifest, "figures": figures, "outputs": files}, indent=True)
    return text, warnings_of(manifest, summary)


def _in_part(paths: RunPaths) -> list[tuple[str, str]]:
    reviews = ds.dataset(paths.table("reviews"), format="parquet")
    columns = ["input_id", "coverage_reason"]
    rows = reviews.head(_LISTED, columns=columns, filter=ds.field("coverage") == "in_part")
    return [(row["input_id"], row["coverage_reason"]) for row in rows.to_pylist()]
