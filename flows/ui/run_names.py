"""Names of flow runs: dataset and date, then what is known of the counts."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from tasks.core.cells import Counts
from tasks.report.server_health import server_answers

__all__ = ["brief", "dataset_of", "rename", "run_name", "shard_name"]

_LONGEST = 40


def dataset_of(source: str) -> str:
    """A short name of SOURCE for people: its last folder or file, and the range of a repository."""
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
    return f"{root.parents[1].name} {root.name}"


def rename(detail: str) -> None:
    """Add `detail` to the current run's name. A server that cannot take it now costs nothing."""
    if flow_run.id is None or not server_answers():
        return
    with suppress(Exception), get_client(sync_client=True) as client:
        client.set_flow_run_name(UUID(flow_run.id), f"{run_name()}, {detail}")


def brief(counts: Counts) -> str:
    """What came of a run, short enough for a list of runs."""
    good = counts.coverage["complete"] + counts.coverage["skipped"]
    shown = counts.outcomes["kept"] + counts.outcomes["unverified"]
    inputs = f"{good:,} of {counts.inputs:,}" if good < counts.inputs else f"{counts.inputs:,}"
    return f"{inputs} inputs, {shown:,} comments"
