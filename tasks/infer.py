"""Stage 3: one task run per slice of a shard; its calls share the process's threads."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.inference import desk

__all__ = ["infer"]


@task(
    name="infer",
    task_run_name="infer-{first:06d}-{last:06d}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def infer(first: int, last: int) -> int:
    """Review inputs [first, last) of this process's shard; returns how many that were."""
    desk.current().review_slice(first, last)
    return last - first
