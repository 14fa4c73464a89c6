"""The workplace of one process: its caller, its threads, its progress. One per shard."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import orjson
from pydantic import SecretStr

from tasks.core.cells import REMEDIES
from tasks.core.check_settings import ToolSettings
from tasks.core.errors import Stopped
from tasks.core.files import atomic
from tasks.core.paths import ShardPaths
from tasks.core.records import CallRow, Input, InputReview
from tasks.core.run import Run
from tasks.core.settings import Settings
from tasks.infer.ask import Asked, Asker, Parse, Parsed
from tasks.infer.fan_out import CountDownLatch
from tasks.infer.fence import short_traceback
from tasks.infer.input_steps import InputSteps
from tasks.infer.passes import PASSES, Passes, with_earlier_calls
from tasks.infer.progress import Progress, reporting
from tasks.infer.query import Query
from tasks.infer.reviews_first import ReviewsFirst
from tasks.infer.slices import MOST_INPUTS
from tasks.infer.thread_pool import START, AdaptiveThreadPool
from tasks.infer.tool_checks import ToolAnswer, ToolChecks
from tasks.outputs.stored import stored_input
from tasks.review.prompts.team_rules import TeamRules
from tasks.upstream.batches.store import open_batches
from tasks.upstream.calls.call_context import CallLimits
from tasks.upstream.calls.caller import Caller, open_caller

__all__ = ["ShardWorker", "current", "open_shard_worker"]

_P = TypeVar("_P", bound=Parsed)
_Log = logging.Logger | logging.LoggerAdapter[Any]

_LOUD = 20
"""Failed cells that are logged one by one; after them only every hundredth, with the count."""


class ShardWorker:
    """Threads, models and counts with which a shard's inputs are worked on. Thread-safe."""

    def __init__(
        self, run: Run, shard: ShardPaths, caller: Caller, pool: AdaptiveThreadPool, log: _Log
    ) -> None:
        self._run = run
        self.settings: Settings = run.settings
        self.team_rules = TeamRules(run.settings, run.rules)
        self.progress = Progress()
        self.caller = caller
        self._shard = shard
        self._pool = pool
        self._log = log
        self._asker = Asker(caller, run.settings.prices, run.fresh_since, run.started)
        self._offsets = _line_offsets(shard.inputs)
        self._tools = ToolChecks(run.settings, self._complain_of_tool, self.broken)
        self._passes = Passes(run.settings, self.inputs)
        self._failures = 0
        self._cut: set[str] = set()
        self._broken = 0
        self._latches: set[CountDownLatch] = set()
        self._closed = False
        self._begun: dict[int, Future[None]] = {}

    @property
    def inputs(self) -> int:
        """How many inputs the shard has."""
        return len(self._offsets) - 1

    def submit(self, step: Callable[..., Any], /, *args: Any) -> None:
        """Queue a step on the shard's threads."""
        self._pool.submit(partial(step, *args))

    def ask(self, query: Query, parse: Parse[_P]) -> Asked[_P]:
        """Ask, count and log a failure."""
        answer = self._asker.ask(query, parse)
        self.progress.asked(answer.row)
        if answer.row.status == "failed":
            self._complain(answer.row)
        elif answer.row.reason == "prompt_cut":
            self._complain_of_cut(answer.row)
        return answer

    def broken(self, input_id: str, error: BaseException) -> None:
        """Log a defect of ours that an input has met."""
        self._broken += 1
        if self._broken <= _LOUD or self._broken % 100 == 0:
            self._log.error(
                "internal error %d of this shard, on input %s, whose cell fails; please report it:\n%s",
                self._broken,
                input_id,
                short_traceback(error),
            )

    def _complain_of_cut(self, row: CallRow) -> None:
        if row.model in self._cut:
            return
        self._cut.add(row.model)
        self._log.warning(
            "%s at %s read %s of about %s tokens of the prompt for %s: raise its context length "
            "(Ollama: num_ctx) or lower max_input_tokens; told once for each model, see the reason "
            "prompt_cut in calls.parquet",
            row.model,
            row.endpoint,
            row.input_tokens,
            row.counted_tokens,
            row.input_id,
        )

    def tool_answer(self, tool: ToolSettings, item: Input) -> ToolAnswer:
        """What a check that is a tool says of an input of a slice in work."""
        return self._tools.answer(tool, item)

    def _complain_of_tool(self, tool: ToolSettings, code: str, words: str) -> None:
        self._log.warning("the tool of check %s failed (%s): %s", tool.name, code, words)

    def _complain(self, row: CallRow) -> None:
        self._failures += 1
        if self._failures <= _LOUD or self._failures % 100 == 0:
            self._log.warning(
                "failed call %d of this shard: %s %s on %s: %s%s",
                self._failures,
                row.stage,
                row.name,
                row.input_id,
                row.reason,
                f" ({remedy})" if (remedy := REMEDIES.get(row.reason or "")) else "",
            )

    def begin(self, threads: Executor, slices: Sequence[tuple[int, int]]) -> None:
        """Begin slices on `threads`, before anybody asks for them by `review_slice`, which waits then."""
        self._begun = {
            first: threads.submit(self._write_part, first, last) for first, last in slices
        }

    def review_slice(self, first: int, last: int) -> None:
        """Review inputs [first, last) of the shard and write their part; does nothing if it is there.

        Raises:
            Stopped: the run is ending; the answers so far are in the journal.
            OutputError: the part cannot be written.
        """
        begun = self._begun.pop(first, None)
        if begun is None:
            self._write_part(first, last)
        else:
            begun.result()

    def _write_part(self, first: int, last: int) -> None:
        if self._closed:
            raise _stopped()
        target = self._shard.part(first)
        if target.exists():
            return
        reviews = self._review(self._read(first, last))
        with atomic(target) as part:
            part.writelines(orjson.dumps(review) + b"\n" for review in reviews)

    def finish_reviews(self) -> None:
        """Have the comments of inputs whose checks are all answered reviewed, before any check is asked.

        Raises:
            Stopped: the run is ending; the answers so far are in the journal.
        """
        for first in range(0, self.inputs, MOST_INPUTS):
            items = self._read(first, min(self.inputs, first + MOST_INPUTS))
            latch = CountDownLatch(len(items))
            self._tools.run(items)
            try:
                with self._open(latch):
                    self._reviews_first().take(items, latch)
                    latch.wait()
            finally:
                self._tools.forget(items)

    def _reviews_first(self) -> ReviewsFirst:
        return ReviewsFirst(
            self.settings,
            self._asker,
            team_rules=self.team_rules,
            journal=self.caller.journal,
            submit=self.submit,
            tool_answer=self._tools.answer,
            fresh_since=self._run.fresh_since,
            started=self._run.started,
        )

    def _review(self, items: list[Input]) -> list[InputReview]:
        self._tools.run(items)
        try:
            return self._in_passes(items)
        finally:
            self._tools.forget(items)

    def _in_passes(self, items: list[Input]) -> list[InputReview]:
        found = self._pass(items)
        for _ in range(PASSES - 1):
            if not (again := self._passes.worth_another(found.values())):
                break
            for one in again:
                self.progress.reopened(found[one], self.settings)
            later = self._pass([item for item in items if item.input_id in again])
            found |= {one: with_earlier_calls(review, found[one]) for one, review in later.items()}
        return [found[item.input_id] for item in items]

    def _pass(self, items: list[Input]) -> dict[str, InputReview]:
        latch = CountDownLatch(len(items))
        found: dict[str, InputReview] = {}

        def done(review: InputReview) -> None:
            found[review.input_id] = review
            latch.done()

        with self._open(latch):
            for item in items:
                InputSteps(self, item, done, latch.fail).start()
            latch.wait()
        return found

    @contextmanager
    def _open(self, latch: CountDownLatch) -> Iterator[None]:
        self._latches.add(latch)
        try:
            if self._closed:
                raise _stopped()
            yield
        finally:
            self._latches.discard(latch)

    def abandon(self) -> None:
        """Let go the slices that wait for steps which will never run; none is begun any more."""
        self._closed = True
        for latch in list(self._latches):
            latch.fail(_stopped())

    def _read(self, first: int, last: int) -> list[Input]:
        with self._shard.inputs.open("rb") as file:
            file.seek(self._offsets[first])
            return [stored_input(file.readline()) for _ in range(last - first)]


def _stopped() -> Stopped:
    msg = "the shard is being stopped; its answers are in the journal"
    return Stopped(msg)


def _line_offsets(path: Path) -> list[int]:
    with path.open("rb") as file:
        return list(accumulate(map(len, file), initial=0))


def _caller(
    run: Run, keys: Mapping[str, SecretStr], stop: threading.Event, load: AdaptiveThreadPool | None
) -> AbstractContextManager[Caller]:
    settings, refused = run.settings, {}
    if run.batched:
        with open_batches(run.batches) as batches:
            refused = batches.refusals(run.run_id)
    return open_caller(
        settings.pool,
        keys,
        journal=run.journal,
        ledger=run.ledger,
        margin=settings.margin,
        limits=CallLimits(
            timeout=settings.timeout,
            connect_timeout=settings.connect_timeout,
            stream_idle_timeout=settings.stream_idle_timeout,
        ),
        max_clients=settings.max_clients,
        give_up_after=settings.give_up_after,
        longest_wait=settings.longest_wait,
        run_id=run.run_id,
        stop=stop,
        load=load,
        budget=settings.budget,
        prices=settings.prices,
        refused=refused,
        give_up_at=run.give_up_at,
    )


_current: ShardWorker | None = None


def current() -> ShardWorker:
    """The last worker of this process. Task bodies reach it here, so that nothing live is pickled."""
    if _current is None:
        msg = "no worker is open in this process: slices run inside the flow review_shard"
        raise RuntimeError(msg)
    return _current


@contextmanager
def open_shard_worker(
    shard: ShardPaths, keys: Mapping[str, SecretStr], log: _Log, stop: threading.Event
) -> Iterator[ShardWorker]:
    """Open journal, ledger, clients and threads for a shard; close them whatever happens."""
    global _current  # noqa: PLW0603 - one process, one worker; see `current`
    run = Run.read(shard.settings)
    # A number that the user has set, or that follows from quotas, is meant as it is.
    adaptive = run.settings.threads is None and not all(app.windows for app in run.settings.pool)
    pool = AdaptiveThreadPool(run.threads, START if adaptive else None)
    with _caller(run, keys, stop, pool if adaptive else None) as caller:
        _current = worker = ShardWorker(run, shard, caller, pool, log)
        try:
            with reporting(worker.progress, shard.progress):
                yield worker
        except BaseException:
            stop.set()
            raise
        finally:
            pool.close()
            worker.abandon()
            log.info("calls of this shard: %s", orjson.dumps(caller.statistics()).decode())
