"""A task per shard that supervises one process, here or at a worker, and judges it by its completion marker.

Prefect's own ProcessPoolTaskRunner shares one pool: a killed child breaks every shard, and a
killed parent leaves children that go on spending quota. Here each shard has its own process, a
killed one is started again by Prefect's retry, and all leave with the parent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prefect import State, Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.futures import PrefectConcurrentFuture
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.shards.exit_report import ExitReport, read_exit_report, reserve_exit_report
from flows.shards.flow_run_states import mark_cancelled, mark_completed, mark_crashed, say_again
from flows.shards.fork_server import ShardProcess
from flows.shards.process import end_process, start_early, start_process, watch_process
from flows.shards.process_end import GRACE
from tasks.core.errors import OutputError, ReviewError, SchedulerGone, StateError, UserError
from tasks.core.failures import local_time
from tasks.core.paths import ShardPaths
from tasks.core.run import Run
from tasks.core.worker_settings import WorkersSettings

__all__ = ["cancelled", "run_shard", "run_shards", "started_early"]

_RETRIES = 2
"""A shard that dies three times dies for a reason that a fourth start does not remove."""

_GLANCE = 1.0
"""Seconds between looks whether the run was suspended."""

_cancel = threading.Event()
_hopeless: list[ReviewError] = []
"""What stops the whole run: the other shards would meet it as well."""


_early: dict[str, ShardProcess] = {}
"""By folder: processes at work before their run has a flow run."""


@contextmanager
def started_early(shards: Sequence[ShardPaths]) -> Iterator[None]:
    """Have shards worked on before the flow run begins, whose `run_shards` goes on with them.

    Those that it has not taken over by the end of the block are stopped; their answers are in the journal.

    Raises:
        OutputError: a shard's folder cannot be written.
    """
    try:
        for shard in shards:
            reserve_exit_report(shard)
            _early[str(shard.root)] = start_early(shard)
        yield
    finally:
        left = list(_early.values())
        _early.clear()
        for process in left:
            process.terminate()
        for process in left:
            process.join(GRACE)
            end_process(process)


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
def run_shard(name: str, root: str) -> State[Any] | None:
    """Run one shard in a process of its own, or by a worker, as a linked subflow.

    Failed, with the reason, when the process ended without the completion marker.
    """
    shard = ShardPaths(Path(root))
    if shard.done.exists():
        return None
    if cancelled():
        return Failed(message=f"{name} was not started: the run is being stopped")
    shard.flow_run.unlink(missing_ok=True)
    try:
        if root not in _early:
            reserve_exit_report(shard)
        workers = Run.read(shard.settings).settings.workers
        ending = _run_far(shard, workers) if workers else _run_process(shard, name)
    except SchedulerGone as error:
        return Failed(message=_end_with_gaps(shard, error))
    except (UserError, StateError) as error:
        return Failed(message=_give_up(error))
    return None if shard.done.exists() else Failed(message=_lost(shard, name, ending))


def _run_far(shard: ShardPaths, workers: WorkersSettings) -> str:
    """Have a worker run it; returns how that ended."""
    # A run on this machine does without the package that it needs.
    from flows.shards.remote.attempt import run_attempt  # noqa: PLC0415

    ending = run_attempt(workers, shard, cancelled)
    if shard.done.exists():
        mark_completed(shard, f"{shard.root.name} is finished")
    return ending


def _run_process(shard: ShardPaths, name: str) -> str:
    """Run it in a process of this machine; returns how that ended."""
    process = start_process(shard, name, cancelled, _early.pop(str(shard.root), None))
    try:
        watch_process(process, shard, cancelled)
    finally:
        end_process(process)
    if shard.done.exists() and process.exitcode:
        mark_completed(shard, f"{name} is finished")
    return f"exit code {process.exitcode}"


def _lost(shard: ShardPaths, name: str, ending: str) -> str:
    """Why the shard is not finished, told to its flow run as well; the process could not."""
    words = read_exit_report(shard)
    if words is not None and words.lasting:
        why = _give_up(_error(words))
        mark_crashed(shard, why)
    elif cancelled():
        why = f"{name} was stopped with the run; its answers are in the journal"
        mark_cancelled(shard, why)
    else:
        said = words.message if words else ending
        why = f"{name} ended without finishing ({said}); its answers are in the journal"
        mark_crashed(shard, why)
    return why


def _error(words: ExitReport) -> ReviewError:
    kind = OutputError if words.code == OutputError.code else StateError
    return kind(words.message, code=words.code)


def _end_with_gaps(shard: ShardPaths, error: ReviewError) -> str:
    """Stop the other shards as well; the run goes on with what there is."""
    _cancel.set()
    # Its last worker may have died with it at work.
    mark_crashed(shard, str(error))
    return str(error)


def _give_up(error: ReviewError) -> str:
    _hopeless.append(error)
    _cancel.set()
    return str(error)


def run_shards(
    names: dict[str, str], processes: int, look: Callable[[], None] = lambda: None
) -> list[str]:
    """Run every shard, at most `processes` at a time; returns why, for each that was lost.

    `names` maps a shard's name to its folder. `look` is called every second; what it raises stops
    all shards and leaves.

    Raises:
        OutputError, StateError: what a shard met would stop every other one too; all were stopped.
    """
    _cancel.clear()
    _hopeless.clear()
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=processes)
    with runner:
        futures = {
            name: runner.submit(run_shard, parameters={"name": name, "root": root})
            for name, root in names.items()
        }
        try:
            for future in futures.values():
                _await(future, look)
        except BaseException as error:
            _cancel.set()
            if isinstance(error, Pause):
                _tell_pause(error)
            for future in futures.values():
                with suppress(Exception):
                    future.wait()
            raise
        finally:
            say_again()
    if _hopeless:
        raise _hopeless[0]
    states = {name: future.state for name, future in futures.items()}
    return [state.message or name for name, state in states.items() if not state.is_completed()]


def _await(future: PrefectConcurrentFuture[Any], look: Callable[[], None]) -> None:
    """Wait, and leave with what `look` raises, or Prefect's Pause as soon as somebody suspends the run.

    Prefect itself looks only between tasks, which is when all shards are done.
    """
    context = FlowRunContext.get()
    while not future.wrapped_future.done():
        future.wait(timeout=_GLANCE)
        look()
        if context is not None:
            context.flow_run_suspension_request.raise_if_requested()
    future.wait()


def _tell_pause(pause: Pause) -> None:
    """Say until when the run can be resumed: its server ends it as Failed then."""
    until = pause.state.state_details.pause_timeout if pause.state is not None else None
    if until is not None:
        get_run_logger().warning(
            "suspended until %s: if it is not resumed by then, Prefect ends the run as Failed; Retry "
            "goes on from the journal all the same",
            local_time(until.isoformat()),
        )
