"""The flow run of a shard that a worker will enter by its id."""

from __future__ import annotations

import threading
from contextlib import suppress

from prefect import Task
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.states import Pending

from flows.review_shard import review_shard
from flows.shards.flow_run_states import note_flow_run
from tasks.core.paths import ShardPaths
from tasks.report.server_health import await_server

__all__ = ["new_flow_run"]

_PATIENCE = 10.0
"""Seconds that Prefect's server may take to come back; without it the shard works on its own."""

_creating = threading.Lock()
"""A Prefect server on SQLite refuses one of two flow runs that are created in the same instant."""


def new_flow_run(shard: ShardPaths, attempt: str) -> str:
    """Id of a new flow run of the shard, linked to the current one; blank: no server answers."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or not await_server(_PATIENCE):
        return ""
    name = shard.root.name
    with _creating, suppress(Exception), get_client(sync_client=True) as client:
        link = client.create_task_run(
            Task(review_shard.fn, name=review_shard.name),
            context.flow_run.id,
            dynamic_key=attempt,
            name=name,
            state=Pending(),
        )
        flow_run = client.create_flow_run(
            review_shard,
            parameters={"name": name, "root": str(shard.root)},
            name=f"{shard.root.parents[2].name} {name}",
            parent_task_run_id=link.id,
            state=Pending(),
        )
        note_flow_run(shard, flow_run.id)
        return str(flow_run.id)
    return ""
