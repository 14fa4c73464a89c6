"""One process's share of a night, as a flow run of its own."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.context import FlowRunContext
from prefect.logging.loggers import flow_run_logger
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.children import note_flow_run
from flows.keys import resolve_keys
from flows.run_log import into_run
from flows.states import INCOMPLETE
from flows.watchdog import die_with_parent
from tasks.core.paths import ShardPaths
from tasks.files import write_json
from tasks.infer import infer
from tasks.inference.desk import Desk, open_desk
from tasks.inference.run import Run
from tasks.inference.slices import AT_ONCE, guided

__all__ = ["review_shard"]


_SLICES: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=AT_ONCE)


@flow(
    name="review-shard",
    flow_run_name="{name}",
    task_runner=_SLICES,
    persist_result=False,
)
def review_shard(name: str, root: str, parent: int) -> State[Any]:
    """Review the shard in the folder `root`; `parent` is the pid that this process must not outlive.

    Answers are in the journal as they arrive, slices as parts in the folder, and the completion
    marker is written last.
    """
    die_with_parent(parent)
    shard = ShardPaths(Path(root))
    log, run = _own_logger(shard), Run.read(shard.settings)
    log.info("%s: up to %d calls in flight", name, run.threads)
    stop = threading.Event()
    with into_run(log), open_desk(shard, resolve_keys(run.settings), log, stop) as desk:
        slices = guided(desk.inputs, run.threads)
        for future in [infer.submit(first, last) for first, last in slices]:
            future.result()
        result = _result(desk)
    write_json(shard.done, result)
    return _state(result)


def _own_logger(shard: ShardPaths) -> Any:
    # Inside a task's process get_run_logger() is the parent task's logger.
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        msg = "review_shard runs as a flow: call it, do not call its function"
        raise RuntimeError(msg)
    note_flow_run(shard, context.flow_run.id)
    return flow_run_logger(context.flow_run, context.flow)


def _result(desk: Desk) -> dict[str, Any]:
    return desk.progress.snapshot()


def _state(result: dict[str, Any]) -> State[Any]:
    text = f"{result['inputs']:,} inputs, {result['calls']:,} calls, {result['journaled']:,} from the journal"
    if not result["failed"]:
        return Completed(message=text)
    return Failed(name=INCOMPLETE, message=f"{text}, {result['failed']:,} cells failed")
