"""One process's share of a run, as a flow run of its own."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.context import FlowRunContext
from prefect.logging.loggers import flow_run_logger
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import SecretStr

from flows.setup.keys import resolve_keys
from flows.shards.exit_report import ExitReport, write_exit_report
from flows.shards.flow_run_states import note_flow_run
from flows.shards.watchdog import calls_in_flight, ignore_further_sigterm
from flows.ui.run_display import shard_name
from flows.ui.run_log import EarlyLog, Log, into_run
from tasks.core.files import write_json
from tasks.core.paths import ShardPaths
from tasks.core.run import Run
from tasks.infer.progress import Tally
from tasks.infer.shard_worker import ShardWorker, open_shard_worker
from tasks.infer.slices import AT_ONCE, guided
from tasks.infer.task import infer
from tasks.infer.thread_count import ensure_open_files
from tasks.upstream.calls.key_ring import KeyRing

__all__ = ["review_alone", "review_early", "review_shard"]

SubmitSlice = Callable[[ShardWorker, int, int], Any]
"""Starts one slice; returns its future."""

_COLLECT_AFTER, _OLDER = 50_000, (20, 20)
"""Objects until the garbage collector looks: a call leaves no circles, and 700, as usual, are three calls."""

_SLICES: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=AT_ONCE)
"""A shard's slices, wherever it works."""


@flow(
    name="review-shard",
    flow_run_name=shard_name,
    task_runner=_SLICES,
    persist_result=False,
)
def review_shard(name: str, root: str) -> State[Any]:
    """Review the shard in the folder `root`.

    Answers are in the journal as they arrive, slices as parts in the folder, and the completion
    marker is written last. What ends it is left in the folder and does not leave as an exception,
    which Prefect would pickle to its storage.
    """
    shard = ShardPaths(Path(root))
    log = _own_logger(shard)
    log.info("%s works in process %d", name, os.getpid())
    # What began early forwards its lines already.
    with nullcontext() if _early else into_run(log):
        return _state_of(_review(shard, log, lambda _, first, last: infer.submit(first, last)))


def review_alone(name: str, root: str) -> None:
    """Review a shard without Prefect, whose server does not answer."""
    signal.signal(signal.SIGTERM, _leave)
    log = logging.getLogger(f"{__name__}.{name}")
    with ThreadPoolExecutor(AT_ONCE) as slices:
        _review(
            ShardPaths(Path(root)),
            log,
            lambda worker, first, last: slices.submit(worker.review_slice, first, last),
        )


def review_early(root: str, hear: Callable[[], Callable[[], None]]) -> None:
    """Review a shard before there is a flow run of it; what `hear` waits for goes on with it.

    Raises:
        EOFError: the run has ended before it told anything.
        SystemExit: this process was told to stop before.
    """
    interrupt = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGTERM, _leave)
    if interrupt is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)
    with ExitStack() as stack:
        # What hinders it is met again, and told, where there is a flow run.
        with suppress(Exception):
            _early.append(_begin(ShardPaths(Path(root)), stack))
        go_on = hear()
        signal.signal(signal.SIGINT, interrupt)
        go_on()


def _leave(number: int, _: object) -> None:
    sys.exit(128 + number)


@dataclass(frozen=True, slots=True)
class _Early:
    """A shard at work without a flow run."""

    run: Run
    keys: KeyRing
    worker: ShardWorker
    log: EarlyLog
    open: ExitStack
    """Closes the worker and all that it needs."""


_early: list[_Early] = []
"""The shard of this process, until its flow run takes it over."""


def _begin(shard: ShardPaths, stack: ExitStack) -> _Early:
    log, run = EarlyLog(), Run.read(shard.settings)
    stack.enter_context(into_run(log))
    keys = resolve_keys(run.settings)
    threads = ThreadPoolExecutor(AT_ONCE)
    stack.callback(threads.shutdown)
    worker = stack.enter_context(_open(shard, run, keys, log))
    worker.begin(threads, guided(worker.inputs, run.threads))
    return _Early(run, keys, worker, log, stack)


def _review(shard: ShardPaths, log: Log, submit: SubmitSlice) -> Tally | ExitReport:
    """The shard's counts, or why it could not be finished."""
    scrub = None
    try:
        if _early:
            early = _early.pop()
            scrub = early.keys.scrub
            early.log.follow(log)
            with early.open:
                result = _work(early.run, early.worker, submit)
        else:
            run = Run.read(shard.settings)
            keys = resolve_keys(run.settings)
            scrub = keys.scrub
            with _open(shard, run, keys, log) as worker:
                result = _work(run, worker, submit)
        write_json(shard.done, asdict(result))
    except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor has to hear of it
        return write_exit_report(shard, error, scrub)
    return result


@contextmanager
def _open(
    shard: ShardPaths, run: Run, keys: Mapping[str, SecretStr], log: Log
) -> Iterator[ShardWorker]:
    ensure_open_files(run.threads)
    gc.set_threshold(_COLLECT_AFTER, *_OLDER)
    log.info("up to %d calls in flight", run.threads)
    stop = threading.Event()
    with (
        calls_in_flight(),
        open_shard_worker(shard, keys, log, stop) as worker,
        ignore_further_sigterm(),
    ):
        yield worker


def _work(run: Run, worker: ShardWorker, submit: SubmitSlice) -> Tally:
    if run.reviews_first:
        worker.finish_reviews()
    slices = guided(worker.inputs, run.threads)
    for future in [submit(worker, first, last) for first, last in slices]:
        future.result()
    return worker.progress.snapshot()


def _own_logger(shard: ShardPaths) -> Any:
    """The logger of this flow run, whose id is left in the shard's folder."""
    # Inside a task's process get_run_logger() is the parent task's logger.
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        msg = "review_shard runs as a flow: call it, do not call its function"
        raise RuntimeError(msg)
    note_flow_run(shard, context.flow_run.id)
    return flow_run_logger(context.flow_run, context.flow)


def _state_of(result: Tally | ExitReport) -> State[Any]:
    """The flow run's state for what `_review` returned."""
    if isinstance(result, ExitReport):
        return Failed(message=result.message)
    text = (
        f"{result.inputs:,} inputs, {result.calls:,} calls, {result.journaled:,} from the journal"
    )
    if not result.failed:
        return Completed(message=text)
    return Failed(message=f"{text}, {result.failed:,} cells failed")
