"""Flow runs of the shards' processes: their last state when the process could not set it itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from prefect import State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Crashed

from tasks.core.paths import ShardPaths
from tasks.report.server_health import await_server, server_answers

__all__ = [
    "close_earlier_tasks",
    "mark_cancelled",
    "mark_completed",
    "mark_crashed",
    "note_flow_run",
    "say_again",
]

_unsaid: list[Callable[[], bool]] = []
"""What sets the last state of a flow run whose server was away; the oldest first."""

_OPEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def note_flow_run(shard: ShardPaths, flow_run_id: UUID) -> None:
    """Leave the id where the supervisor finds it after the process's death."""
    shard.flow_run.write_text(str(flow_run_id))


def mark_crashed(shard: ShardPaths, message: str) -> None:
    """The process died without a word: its flow run and task runs are Crashed, and not Running."""
    _close(shard, Crashed(message=message), finished_too=False)


def mark_completed(shard: ShardPaths, message: str) -> None:
    """The shard is whole; a process that was ended before it could say so does not stay Running."""
    _close(shard, Completed(message=message), finished_too=False)


def mark_cancelled(shard: ShardPaths, message: str) -> None:
    """The process was stopped with its parent: Prefect calls that Crashed, people Cancelled."""
    _close(shard, Cancelled(message=message), finished_too=True)


def close_earlier_tasks(client: SyncPrefectClient, flow_run: FlowRun) -> None:
    """The task runs of an earlier start of a flow run are Crashed, and not Running: its worker was lost."""
    _close_tasks(client, flow_run.id, Crashed(message="its worker was lost"))


def _close(shard: ShardPaths, state: State[Any], *, finished_too: bool) -> None:
    noted = set[UUID]()
    with suppress(OSError, ValueError):  # it was killed before, or as it left its id
        noted.add(UUID(shard.flow_run.read_text()))
    end = partial(_end, shard, noted, state, finished_too=finished_too)
    if not (server_answers() and end()):
        _unsaid.append(end)


def say_again() -> None:
    """Set what a server that is being restarted has not taken; what remains, the automation for lost runs sets."""
    unsaid, _unsaid[:] = _unsaid[::-1], []
    if unsaid and await_server():
        for end in unsaid:
            end()


def _end(shard: ShardPaths, noted: set[UUID], state: State[Any], *, finished_too: bool) -> bool:
    """Set the last state of a shard's flow runs and of their task runs; False: the server did not take it."""
    try:
        with get_client(sync_client=True) as client:
            for flow_run_id in noted | _left(client, shard):
                now = client.read_flow_run(flow_run_id).state
                if finished_too or now is None or not now.is_final():
                    client.set_flow_run_state(flow_run_id, state, force=True)
                _close_tasks(client, flow_run_id, state)
    except Exception:  # noqa: BLE001 - whatever it is, the shard's work does not depend on it
        return False
    return True


def _left(client: SyncPrefectClient, shard: ShardPaths) -> set[UUID]:
    """Of the shard in this run; one that was told to stop may not have left the id of its own."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return set()
    made = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[context.flow_run.id]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_OPEN)),
        )
    )
    return {one.id for one in made if one.parameters.get("name") == shard.root.name}


def _close_tasks(client: SyncPrefectClient, flow_run_id: UUID, state: State[Any]) -> None:
    still = TaskRunFilterState(type=TaskRunFilterStateType(any_=_OPEN))
    for task_run in client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])),
        task_run_filter=TaskRunFilter(state=still),
    ):
        client.set_task_run_state(task_run.id, state, force=True)
