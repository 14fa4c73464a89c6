"""A task per shard that supervises one process, and judges it by its completion marker.

Prefect's own ProcessPoolTaskRunner shares one pool: a killed child breaks every shard, and a
killed parent leaves children that go on spending quota. Here each shard has its own process, a
killed one is started again by Prefect's retry, and all leave with the parent.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from prefect import State, Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.context import FlowRunContext
from prefect.flow_engine import run_flow_in_subprocess
from prefect.futures import PrefectConcurrentFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows.children import close_killed, close_stopped
from flows.review_shard import review_shard
from tasks.core.errors import ShardError
from tasks.core.paths import ShardPaths

__all__ = ["cancelled", "run_shard", "run_shards"]

GRACE = 25.0
"""Seconds that a shard gets to end its calls in flight when the run is stopped."""

_RETRIES = 2
"""A shard that dies three times dies for a reason that a fourth start does not remove."""

_GLANCE = 1.0
"""Seconds between looks whether the run was suspended."""

_cancel = threading.Event()


def cancelled() -> bool:
    """Whether this process is stopping its shards."""
    return _cancel.is_set()


def _worth_a_retry(_task: Task[..., Any], _run: TaskRun, _state: State[Any]) -> bool:
    return not cancelled()


@task(
    name="run-shard",
    task_run_name="run-{name}",
    retries=_RETRIES,
    retry_delay_seconds=2,
    retry_condition_fn=_worth_a_retry,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def run_shard(name: str, root: str) -> None:
    """Run one shard in a process of its own, as a linked subflow.

    Raises:
        ShardError: the process ended without the completion marker.
    """
    shard = ShardPaths(Path(root))
    if shard.done.exists():
        return
    if cancelled():
        msg = f"{name} was not started: the run is being stopped"
        raise ShardError(msg)
    shard.flow_run.unlink(missing_ok=True)
    parameters = {"name": name, "root": root, "parent": os.getpid()}
    process = run_flow_in_subprocess(review_shard, parameters=parameters)
    try:
        _watch(process)
    finally:
        _end(process)
    if not shard.done.exists():
        raise ShardError(_lost(shard, name, process.exitcode))


def _watch(process: BaseProcess) -> None:
    while process.is_alive():
        process.join(0.25)
        if cancelled():
            process.terminate()
            process.join(GRACE)
            return


def _end(process: BaseProcess) -> None:
    if process.is_alive():
        process.kill()
    process.join()


def _lost(shard: ShardPaths, name: str, exit_code: int | None) -> str:
    """Why the shard is not finished, told to its flow run as well; the process could not."""
    if cancelled():
        why = f"{name} was stopped with the run; its answers are in the journal"
        close_stopped(shard, why)
    else:
        why = f"{name} ended without finishing (exit code {exit_code}); its answers are in the journal"
        close_killed(shard, why)
    return why


def run_shards(names: dict[str, str], processes: int) -> list[str]:
    """Run every shard, at most `processes` at a time; returns the names of those that were lost.

    `names` maps a shard's name to its folder.
    """
    _cancel.clear()
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=processes)
    with runner:
        futures = {
            name: runner.submit(run_shard, parameters={"name": name, "root": root})
            for name, root in names.items()
        }
        try:
            for future in futures.values():
                _await(future)
        except BaseException:
            _cancel.set()
            for future in futures.values():
                with suppress(Exception):
                    future.wait()
            raise
    return [name for name, future in futures.items() if not future.state.is_completed()]


def _await(future: PrefectConcurrentFuture[Any]) -> None:
    """Wait, and leave with Prefect's Pause as soon as somebody suspends the run.

    Prefect itself looks only between tasks, which is when all shards are done.
    """
    context = FlowRunContext.get()
    while not future.wrapped_future.done():
        future.wait(timeout=_GLANCE)
        if context is not None:
            context.flow_run_suspension_request.raise_if_requested()
    future.wait()
