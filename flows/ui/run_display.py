"""
Flow runs in Prefect's lists: their names, and the states that they end in.

A name begins as dataset and date and gets the counts as they become known. States keep Prefect's own
names, Completed and Failed: both of its UIs list runs by a fixed set of names, and a run that ends in
another one is on no page of its deployment. What ended it begins the state's message.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import State
from prefect.client.orchestration import get_client
from prefect.exceptions import FailedRun
from prefect.runtime import flow_run
from prefect.states import Failed

from tasks.core.cells import RunCounts
from tasks.core.failures import failure_sentence, local_time
from tasks.core.git_source import split_sources
from tasks.core.manifest import RunFacts, ended_well
from tasks.core.text_safety import visible
from tasks.report.server_health import server_answers

__all__ = [
    "INCOMPLETE",
    "REFUSED",
    "brief",
    "dataset_of",
    "failed",
    "name_detail",
    "rename",
    "run_name",
    "shard_name",
    "state_message",
]

_LONGEST = 40
_GROUPS = 2
"""Groups of failed calls in a state's message."""

INCOMPLETE = "INCOMPLETE: "
"""Begins the message of a run that wrote its outputs with more gaps than its settings accept."""

REFUSED = "REFUSED: "
"""Begins the message of a run that did not start: bad configuration, source, state, folder, storage."""


def dataset_of(source: str) -> str:
    """A short name of SOURCE for people: its last folder or file, and the range of a repository."""
    first, *more = split_sources(source)
    if more:
        return _short(f"{dataset_of(first)} and {len(more)} more")
    if not source.startswith("git:"):
        return _short(Path(source).name.split(".")[0] or source)
    place, _, wanted = source.removeprefix("git:").partition("@")
    return _short(f"{Path(place).resolve().name} {wanted}".strip())


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


def run_name() -> str:
    """The name that a flow run of bulk_review begins with: "diffs 2026-11-24"."""
    start = flow_run.scheduled_start_time or datetime.now(UTC)
    return f"{dataset_of(str(flow_run.parameters.get('source', '')))} {start:%Y-%m-%d}"


def shard_name() -> str:
    """The name of a shard's flow run: output folder of its run and number."""
    root = Path(str(flow_run.parameters["root"]))
    return f"{root.parents[2].name} {root.name}"


def rename(detail: str) -> None:
    """Add `detail` to the current run's name. A server that cannot take it now costs nothing."""
    if flow_run.id is None or not server_answers():
        return
    with suppress(Exception), get_client(sync_client=True) as client:
        client.set_flow_run_name(UUID(flow_run.id), f"{run_name()}, {detail}")


def brief(counts: RunCounts) -> str:
    """The result of a run, short enough for a list of runs."""
    good = counts.good
    shown = counts.outcomes["kept"] + counts.outcomes["unverified"]
    inputs = f"{good:,} of {counts.inputs:,}" if good < counts.inputs else f"{counts.inputs:,}"
    return f"{inputs} inputs, {shown:,} comments"


def name_detail(manifest: RunFacts, counts: RunCounts) -> str:
    """The result of a run, as its name has it."""
    text = brief(counts)
    return text if ended_well(manifest) else f"incomplete, {text}"


def state_message(manifest: RunFacts) -> str:
    """The result of a run with the largest reason for its gaps, and when a rerun can go on."""
    upstream = manifest.get("upstream")
    if upstream is None or manifest["complete"]:
        return manifest["result"]
    groups = [visible(failure_sentence(one)) for one in upstream["failures"][:_GROUPS]]
    goes_on = upstream["goes_on_at"]
    groups += [f"run again from {local_time(goes_on)}"] if goes_on else []
    return ". ".join([manifest["result"], *groups])


def failed(message: str) -> State[Any]:
    """A state Failed whose message says all there is to say."""
    for logger in ("prefect.flow_runs", "prefect.engine"):
        logging.getLogger(logger).addFilter(_WITHOUT_FAILED_RUN)
    return Failed(message=message)


class _WithoutFailedRun(logging.Filter):
    """A filter for Prefect's engine, which logs such a state with a traceback through itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, FailedRun)


_WITHOUT_FAILED_RUN = _WithoutFailedRun()
