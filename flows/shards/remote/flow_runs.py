"""
The flow run of a shard at a worker: a subflow of the run's own, made when its process begins.

Not earlier: a run that is killed while its shards wait for a place would leave theirs Pending.
"""

from __future__ import annotations

from uuid import UUID

from prefect import Task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentTaskRunId
from prefect.client.schemas.objects import FlowRun
from prefect.states import Pending

from flows.review_shard import review_shard
from flows.shards.flow_run_states import close_earlier_tasks, note_flow_run
from tasks.core.paths import ShardPaths

__all__ = ["begin_flow_run"]


def begin_flow_run(shard: ShardPaths, run: str, attempt: str) -> FlowRun:
    """The flow run of an attempt; one that Dask has begun on another worker before goes on."""
    name = shard.root.name
    with get_client(sync_client=True) as client:
        # The server gives back the one that it has by this key.
        link = client.create_task_run(
            Task(review_shard.fn, name=review_shard.name),
            UUID(run),
            dynamic_key=attempt,
            name=name,
            state=Pending(),
        )
        linked = FlowRunFilterParentTaskRunId(any_=[link.id])
        begun = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_task_run_id=linked), limit=1
        )
        if begun:
            flow_run = begun[0]
            close_earlier_tasks(client, flow_run)
        else:
            flow_run = client.create_flow_run(
                review_shard,
                parameters={"name": name, "root": str(shard.root)},
                name=f"{shard.root.parents[2].name} {name}",
                parent_task_run_id=link.id,
                state=Pending(),
            )
    note_flow_run(shard, flow_run.id)
    return flow_run
