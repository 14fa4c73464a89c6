"""
Prefect events of a run, for automations.

    bulk-review.run.finished     every input was reviewed as planned     run, source, range, counts, output
    bulk-review.run.incomplete   written, with more gaps than accepted   the same
    bulk-review.run.refused      not started, or not written             source, result
    bulk-review.output.written   the outputs are complete on disk        run, source, files: name -> path
    bulk-review.findings.new_critical   critical findings that are new   run, source, count
    bulk-review.reviewer.changed   by its canaries a model is worse   run, model, prompt version, counts
    bulk-review.key.disabled     an app_id is out for this run           run, app_id, reason
    bulk-review.key.held         a provider wants a minute's pause       run, app_id, until, reason
    bulk-review.limit.lowered    a provider allows fewer than quota      run, app_id, limit
    bulk-review.margin.raised    a 429 that our log cannot explain       run, app_id, seconds
    bulk-review.budget.reached   no more calls for this run              run, cap, what is spent of it

The resource is `bulk-review.run.<run id>`, or `bulk-review.app-id.<alias>` for what concerns a key; the
related resources are Prefect's own: flow run, flow, deployment. A payload has counts, aliases and
paths; no key, prompt or reply.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from prefect.events import emit_event
from prefect.runtime import flow_run

from flows.ui.run_display import state_message
from tasks.core.manifest import RunFacts, ended_well
from tasks.core.paths import RunPaths
from tasks.outputs.schemas import Output
from tasks.report.canaries import change_text
from tasks.report.links import report_link
from tasks.upstream.batches.intents import Intent

__all__ = [
    "batch_ended",
    "batch_late",
    "batch_submitted",
    "budget_reached",
    "key_disabled",
    "key_held",
    "limit_lowered",
    "margin_raised",
    "new_critical",
    "output_written",
    "reviewer_changed",
    "run_ended",
    "run_refused",
]

_TITLES = 5
"""New critical findings that are named."""

_LOG = logging.getLogger(__name__)


def run_ended(manifest: RunFacts, paths: RunPaths) -> None:
    """Emit run.finished or run.incomplete, as the manifest says."""
    payload = {
        "run_id": manifest["run_id"],
        "source": manifest["source"],
        "source_resolved": manifest.get("source_resolved", manifest["source"]),
        "result": manifest["result"],
        "counts": manifest["counts"],
        "output": paths.place,
        "report": _report(paths),
        "text": "\n".join([state_message(manifest), _counts(manifest), *_links(manifest, paths)]),
    }
    name = "run.finished" if ended_well(manifest) else "run.incomplete"
    _emit(name, f"run.{manifest['run_id']}", payload)


def new_critical(manifest: RunFacts, paths: RunPaths, titles: Sequence[str]) -> None:
    """Emit findings.new_critical: critical findings, by title, that the run before did not have."""
    if not titles:
        return
    head = f"{len(titles):,} new critical {'finding' if len(titles) == 1 else 'findings'}"
    more = [f"and {len(titles) - _TITLES:,} more"] if len(titles) > _TITLES else []
    lines = [head, *titles[:_TITLES], *more, *_links(manifest, paths)]
    payload = {
        "run_id": manifest["run_id"],
        "source": manifest["source"],
        "count": len(titles),
        "report": _report(paths),
        "text": "\n".join(lines),
    }
    _emit("findings.new_critical", f"run.{manifest['run_id']}", payload)


def reviewer_changed(manifest: RunFacts, paths: RunPaths) -> None:
    """Emit reviewer.changed for each model that the canaries show to be worse beyond chance."""
    canaries = manifest.get("canaries")
    for one in canaries["changes"] if canaries else ():
        payload = {
            "run_id": manifest["run_id"],
            "source": manifest["source"],
            **one,
            "report": _report(paths),
            "text": "\n".join([change_text(one), *_links(manifest, paths)]),
        }
        _emit("reviewer.changed", f"run.{manifest['run_id']}", payload)


def _report(paths: RunPaths) -> str:
    return report_link(paths) or paths.display_path(paths.html.name)


def _counts(manifest: RunFacts) -> str:
    counts = manifest["counts"]
    cells, comments = counts["cells"], counts["comments"]
    shown = comments["kept"] + comments["unverified"]
    return (
        f"{counts['inputs']:,} inputs, {cells['failed']:,} of {cells['planned']:,} cells failed, "
        f"{shown:,} comments"
    )


def _links(manifest: RunFacts, paths: RunPaths) -> list[str]:
    url = manifest.get("flow_run_url")
    return [_report(paths), *([url] if url else [])]


def run_refused(source: str, message: str) -> None:
    """Emit run.refused: a run that could not start, or not write; `message` has the remedy."""
    name = flow_run.id or "unknown"
    lines = [message, *([flow_run.ui_url] if flow_run.id and flow_run.ui_url else [])]
    payload = {"source": source, "result": message, "text": "\n".join(lines)}
    _emit("run.refused", f"run.{name}", payload)


def output_written(manifest: RunFacts, paths: RunPaths, outputs: Iterable[Output]) -> None:
    """Emit output.written: all outputs are whole; `files` has their absolute paths, or URLs."""
    files = {one.name: paths.display_path(one.name) for one in outputs}
    payload = {"run_id": manifest["run_id"], "source": manifest["source"], "files": files}
    payload["manifest"] = paths.display_path(paths.manifest.name)
    _emit("output.written", f"run.{manifest['run_id']}", payload)


def key_disabled(run_id: str, alias: str, reason: str) -> None:
    """Emit key.disabled: the upstream refuses the key, or an operator took it out."""
    payload = {"run_id": run_id, "app_id": alias, "reason": reason}
    _emit("key.disabled", f"app-id.{alias}", payload)


def key_held(run_id: str, alias: str, until: datetime, reason: str) -> None:
    """Emit key.held: the provider wants no request of this app_id before `until`."""
    payload = {"run_id": run_id, "app_id": alias, "until": until.isoformat(), "reason": reason}
    _emit("key.held", f"app-id.{alias}", payload)


def limit_lowered(run_id: str, alias: str, limit: int) -> None:
    """Emit limit.lowered: the provider allows only `limit` requests in the app_id's first window."""
    payload = {"run_id": run_id, "app_id": alias, "limit": limit}
    _emit("limit.lowered", f"app-id.{alias}", payload)


def margin_raised(run_id: str, alias: str, seconds: float) -> None:
    """Emit margin.raised: the limiter now keeps `seconds` more between windows of this app_id."""
    payload = {"run_id": run_id, "app_id": alias, "seconds": round(seconds, 3)}
    _emit("margin.raised", f"app-id.{alias}", payload)


def budget_reached(run_id: str, cap: str, spent: str) -> None:
    """Emit budget.reached: a cap of review.toml has no room for the run's next call."""
    text = f"No more calls for run {run_id}: {spent}"
    payload = {"run_id": run_id, "cap": cap, "spent": spent, "text": text}
    _emit("budget.reached", f"run.{run_id}", payload)


def batch_submitted(run_id: str, batch: Intent) -> None:
    """Emit batch.submitted: a file of questions is with the provider's Batch API."""
    _batch("batch.submitted", run_id, batch)


def batch_ended(run_id: str, batch: Intent) -> None:
    """Emit batch.ended: its rows are in the journal, however it has ended."""
    _batch("batch.ended", run_id, batch)


def batch_late(run_id: str, batch: Intent) -> None:
    """Emit batch.late: the deadline came first; it is cancelled, and the rest goes online."""
    _batch("batch.late", run_id, batch)


def _batch(event: str, run_id: str, batch: Intent) -> None:
    payload = {
        "run_id": run_id,
        "batch_id": batch.batch_id,
        "app_id": batch.app_id,
        "model": batch.model,
        "state": batch.said,
        "requests": batch.requests,
        "answered": batch.answered,
        "refused": batch.refused,
        "submitted_by": batch.run_id,
    }
    _emit(event, f"run.{run_id}", payload)


def _emit(event: str, resource: str, payload: dict[str, Any]) -> None:
    name = resource.partition(".")[2]
    who = {"prefect.resource.id": f"bulk-review.{resource}", "prefect.resource.name": name}
    try:
        emit_event(f"bulk-review.{event}", resource=who, payload=payload)
    except Exception as error:  # noqa: BLE001 - news must not cost the run they are about
        _LOG.warning("event %s was not sent: %s", event, error)
