"""
Since when answers count for a run that was asked to ask everything anew, so that nothing is paid twice.

    a flow run of a deployment    since it first started: Retry, Resume and a restart go on with it
    the command                   since the first start with --fresh of a run into this folder, until
                                  one of them is complete
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from tasks.core.files import read_json, write_json
from tasks.core.paths import RunPaths
from tasks.core.run import Run

__all__ = ["first_start", "forget_start", "goes_on", "since_first_start"]


def since_first_start(run: Run, source: str, paths: RunPaths) -> Run:
    """The run, where it is fresh, with the instant from which on answers count; else as it is.

    Raises:
        OutputError: the output folder, which is held by the run, cannot be written.
    """
    if run.fresh_since is None:
        return run
    context = FlowRunContext.get()
    own = None if context is None else context.flow_run
    if own is not None and own.deployment_id is not None:
        return replace(run, fresh_since=first_start(own, run.fresh_since))
    earlier = _of_folder(paths, source)
    if earlier is None:
        write_json(paths.fresh_file, {"source": source, "since": run.fresh_since})
    return replace(run, fresh_since=earlier or run.fresh_since)


def first_start(flow_run: FlowRun, now: float) -> float:
    """When a flow run first ran, in seconds since the epoch; `now`: it has not run before."""
    return min(now, flow_run.start_time.timestamp()) if flow_run.start_time else now


def goes_on(run: Run, asked: float | None) -> str | None:
    """For the log: that a fresh run goes on with an earlier one; None: it does not.

    `asked` is when it was asked for now.
    """
    if run.fresh_since is None or asked is None or run.fresh_since >= asked:
        return None
    since = datetime.fromtimestamp(run.fresh_since, UTC).isoformat(timespec="seconds")
    return (
        f"fresh since {since}, when this was first started: answers from then on are not asked again; "
        "for a run of its own choose another output"
    )


def forget_start(paths: RunPaths) -> None:
    """After a complete run the next one with --fresh asks everything."""
    paths.fresh_file.unlink(missing_ok=True)


def _of_folder(paths: RunPaths, source: str) -> float | None:
    found = read_json(paths.fresh_file)
    if not isinstance(found, Mapping) or found.get("source") != source:
        return None
    since = found.get("since")
    # Of a clock that was ahead, no answer of today would be new enough.
    return float(since) if isinstance(since, int | float) and since <= time.time() else None
