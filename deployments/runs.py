"""Flow runs that are under way: ended in order before their worker goes."""

from __future__ import annotations

import time

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled, Cancelling

__all__ = ["cancel_runs"]

_WHY = "stopped with its worker; the answers so far are in the journal"
_UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def cancel_runs(client: SyncPrefectClient, pool: str, patience: float) -> int:
    """Cancel what a worker of `pool` is working on and wait `patience` seconds for it to end.

    Returns how many runs that were. Scheduled runs stay as they are.
    """
    runs = _under_way(client, pool)
    for run in runs:
        client.set_flow_run_state(run.id, Cancelling(message=_WHY))
    deadline = time.monotonic() + patience
    while (left := _under_way(client, pool)) and time.monotonic() < deadline:
        time.sleep(0.2)
    for run in left:
        # Its process went before it could hear of it: there is nothing left to wait for.
        client.set_flow_run_state(run.id, Cancelled(message=_WHY), force=True)
    return len(runs)


def _under_way(client: SyncPrefectClient, pool: str) -> list[FlowRun]:
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNDER_WAY))
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=states),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
    )
