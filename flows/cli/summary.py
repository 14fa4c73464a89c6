"""What the command `run` says at the end: lines of text, from the manifest. Words of others are made visible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from rich import box
from rich.console import Console
from rich.table import Table

from tasks.core.failures import failure_sentence, local_time
from tasks.core.manifest import RunFacts
from tasks.core.paths import RunPaths
from tasks.core.records import SEVERITIES
from tasks.core.text_safety import visible
from tasks.estimate.loads import duration
from tasks.report.canaries import canary_lines

__all__ = ["brief_lines", "output_lines", "print_summary", "severe_findings", "summary_lines"]

_GROUPS = 5
"""Groups of failed calls that are told."""
_COLUMNS = {
    "calls": "calls",
    "journaled": "from journal",
    "failed": "failed",
    "comments": "comments",
    "kept": "kept",
    "input_tokens": "tokens in",
    "output_tokens": "tokens out",
}


def print_summary(manifest: Mapping[str, Any], paths: RunPaths, console: Console) -> None:
    """The whole summary: result and report first, then figures, then files."""
    for line in summary_lines(manifest, paths):
        console.print(line, soft_wrap=True, highlight=False)
    console.print(_models(manifest))
    for line in output_lines(manifest, paths):
        console.print(line, soft_wrap=True, highlight=False)


def brief_lines(manifest: Mapping[str, Any], paths: RunPaths) -> list[str]:
    """Result and place of the report."""
    return [visible(manifest["result"]), f"report    {paths.display_path(paths.html.name)}"]


def summary_lines(manifest: Mapping[str, Any], paths: RunPaths) -> list[str]:
    """Result, report, findings, comments, cost, time, and what went wrong in its provider's words."""
    history, figures = manifest.get("history"), manifest["figures"]
    lines = [
        *brief_lines(manifest, paths),
        f"findings  {_all_findings(figures['severities'])}{_ages(history)}",
        f"comments  {_comments(manifest['counts'])}",
        f"cost      {_cost(figures)}",
        f"time      {duration(manifest['seconds'])}",
        *(f"canaries  {visible(line)}" for line in canary_lines(cast("RunFacts", manifest))),
    ]
    return lines + [visible(line) for line in _troubles(manifest, paths)]


def severe_findings(manifest: Mapping[str, Any], severity: str) -> str:
    """Counts of the findings that are as severe as `severity` or more; empty: there is none."""
    severe = SEVERITIES[: SEVERITIES.index(severity) + 1]
    severities = manifest["figures"]["severities"]
    found = {one: severities[one] for one in severe if one in severities}
    return _findings(found) if found else ""


def output_lines(manifest: Mapping[str, Any], paths: RunPaths) -> list[str]:
    """Rows and place of each output."""
    lines = [
        f"{output['rows']:>8,} rows  {paths.display_path(name)}"
        for name, output in manifest["outputs"].items()
    ]
    return [*lines, f"{'':>8}       {paths.display_path(paths.report.name)}"]


def _all_findings(severities: Mapping[str, Mapping[str, int]]) -> str:
    total = sum(sum(one.values()) for one in severities.values())
    return f"{total:,}: {_findings(severities)}" if total else _findings(severities)


def _findings(severities: Mapping[str, Mapping[str, int]]) -> str:
    counts = {one: sum(severities[one].values()) for one in SEVERITIES if severities.get(one)}
    return ", ".join(f"{count:,} {one}" for one, count in counts.items()) or "none"


def _ages(history: Mapping[str, Any] | None) -> str:
    if history is None:
        return ""
    return "; " + ", ".join(f"{history[one]:,} {one}" for one in ("new", "recurring", "gone"))


def _comments(counts: Mapping[str, Any]) -> str:
    comments = counts["comments"]
    known = [f"{comments[one]:,} {one}" for one in ("kept", "dropped", "unverified")]
    return f"{comments['raised']:,} raised: {', '.join(known)}"


def _cost(figures: Mapping[str, Any]) -> str:
    dollars, gap = figures["cost_usd"], figures["cost_gap"]
    note = f" ({gap})" if gap else ""
    if dollars is None and gap:
        return f"unknown{note}"
    return f"{'over ' if gap else ''}${dollars or 0.0:,.2f}{note}"


def _troubles(manifest: Mapping[str, Any], paths: RunPaths) -> Iterable[str]:
    upstream = manifest.get("upstream") or {}
    groups = upstream.get("failures", [])
    yield from (f"failed    {failure_sentence(one)}" for one in groups[:_GROUPS])
    if len(groups) > _GROUPS:
        yield f"failed    {len(groups) - _GROUPS:,} more kinds, in the report"
    for row in manifest["figures"]["quota"]["app_ids"]:
        if row["disabled"]:
            yield f"out       app_id {row['app_id']}: {row['disabled']}"
    yield from (f"held      {_held(one)}" for one in upstream.get("holds", ()))
    yield from (f"adapted   {where}: {how}" for where, how in upstream.get("adapted", {}).items())
    if goes_on := upstream.get("goes_on_at"):
        yield f"go on     a key is free again at {local_time(goes_on)}: run again then"
    if manifest["rejected"]["rows"]:
        rows = f"{manifest['rejected']['rows']:,} rows rejected"
        yield f"rejected  {rows}: {paths.display_path(paths.rejected.name)}"


def _held(one: Mapping[str, Any]) -> str:
    if not one["until"]:
        return f"app_id {one['app_id']}: {one['said']}"
    said = f": {one['said']}" if one["said"] else ""
    return f"app_id {one['app_id']} until {local_time(one['until'])}{said}"


def _models(manifest: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("model", *_COLUMNS.values()):
        table.add_column(head, justify="left" if head == "model" else "right", overflow="fold")
    for one in manifest["figures"]["models"]:
        model = f" ({one['model']})" if one["model"] else ""  # none known: its shard was lost
        table.add_row(
            visible(f"{one['name']}{model}"), *(_number(one[column]) for column in _COLUMNS)
        )
    return table


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
