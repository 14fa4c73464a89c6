"""Stage 3: one task run per slice of a shard; its calls share the process's threads."""

from __future__ import annotations

from typing import Any

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled

from tasks.core.errors import Stopped
from tasks.infer import shard_worker

__all__ = ["infer"]


@task(
    name="infer",
    task_run_name="infer-{first:06d}-{last:06d}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def infer(first: int, last: int) -> int | State[Any]:
    """Review inputs [first, last) of this process's shard; returns how many that were.

    A slice that is stopped with its run is Cancelled: nothing went wrong that needs a traceback.
    """
    try:
        shard_worker.current().review_slice(first, last)
    except Stopped as error:
        return Cancelled(message=str(error))
    return last - first
