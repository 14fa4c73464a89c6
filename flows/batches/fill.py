"""Before the shards: have the provider's Batch API answer what it is worth, into the journal.

The shards then find the answers there; what is left over they ask online, as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from prefect.context import FlowRunContext

from flows.batches.display import BatchDisplay
from flows.setup.keys import resolve_keys
from flows.shards.collecting import collect
from flows.ui.progress import stage
from tasks.batch.opening import batch_app_ids, open_rounds
from tasks.batch.rounds import Rounds
from tasks.core.batch_settings import instant_after
from tasks.core.errors import RunCancelled
from tasks.core.paths import RunPaths, ShardPaths
from tasks.core.run import Run
from tasks.core.text_safety import visible
from tasks.upstream.batches.intents import Intent
from tasks.upstream.batches.store import open_batches

__all__ = ["fill_journal", "left_working"]

_ROUNDS = 6
"""Checks, reviews, and each of them again."""

_MOST_PARTS = 3
"""Calls of a check on one input at most."""

_left: list[Intent] = []


def left_working() -> str:
    """What the last run of this process has left at work, as a sentence; empty: nothing."""
    if not _left:
        return ""
    names = ", ".join(visible(one.batch_id) or "one just made" for one in _left[:3]) + (
        ", ..." if _left[3:] else ""
    )
    one = "1 batch goes" if len(_left) == 1 else f"{len(_left)} batches go"
    return (
        f"{one} on at the provider ({names}): the next run takes the answers, and "
        "`nightly-review batches cancel ID` ends one"
    )


def fill_journal(
    run: Run,
    paths: RunPaths,
    shards: Sequence[ShardPaths],
    inputs: int,
    log: Any,
    *,
    started: float,
    look: Callable[[], None],
) -> tuple[Run, list[Intent]]:
    """Ask by batch; returns the run as its shards have to take it, and the batches it had to do with.

    Raises:
        RunCancelled: somebody cancelled the run; its batches work on.
        StateError, OutputError: the state or the work folder cannot be used.
    """
    _left.clear()
    if not _is_worth_it(run, inputs):
        return run, []
    display = BatchDisplay(run.run_id, log)
    folder = paths.work / "batches"
    folder.mkdir(exist_ok=True)
    keys = resolve_keys(_alone(run).settings)
    with open_rounds(
        run,
        keys,
        folder,
        started=started,
        log=log,
        look=_with_suspension(look),
        tell=display.tell,
        show=display.show,
    ) as rounds:
        try:
            _ask(rounds, run, shards, look, log)
        except BaseException as error:
            _left[:] = rounds.working
            if isinstance(error, RunCancelled) and _left:
                msg = f"{error}; {left_working()}"
                raise RunCancelled(msg) from None
            raise
        display.show(list(rounds.seen.values()), last=True)
        return _as_continued(run, rounds, paths, started), list(rounds.seen.values())


def _ask(
    rounds: Rounds,
    run: Run,
    shards: Sequence[ShardPaths],
    look: Callable[[], None],
    log: Any,
) -> None:
    rounds.adopt()
    if run.settings.batch.use == "never":
        return
    for _ in range(_ROUNDS):
        stage("collecting what can be asked by batch")
        files = collect(shards, run.settings.processes, look, log)
        if not rounds.ask(files):
            return


def _is_worth_it(run: Run, inputs: int) -> bool:
    """Whether there may be anything to hand in, or to fetch."""
    if not batch_app_ids(run):
        return False
    batch = run.settings.batch
    if batch.use == "always":
        return True
    most = inputs * _MOST_PARTS * max(1, len(run.settings.check))
    if batch.use == "auto" and most >= batch.min_calls:
        return True
    with open_batches(run.batches) as store:
        return bool(store.open())


def _alone(run: Run) -> Run:
    """The run with the app_ids that have batches only: with [workers], other keys are not here."""
    names = {one.alias for one in batch_app_ids(run)}
    if run.settings.workers is None:
        return run
    apps = {alias: app for alias, app in run.settings.app_ids.items() if alias in names}
    return replace(run, settings=run.settings.model_copy(update={"app_ids": apps}))


def _as_continued(run: Run, rounds: Rounds, paths: RunPaths, started: float) -> Run:
    if not rounds.seen:
        return run
    give_up = run.settings.batch.give_up
    run = replace(
        run,
        batched=True,
        reviews_first=rounds.late,
        give_up_at=None if give_up is None else instant_after(give_up, started),
    )
    run.write(paths.settings)
    return run


def _with_suspension(look: Callable[[], None]) -> Callable[[], None]:
    """`look`, which also leaves as soon as somebody suspends the flow run."""
    context = FlowRunContext.get()

    def both() -> None:
        look()
        if context is not None:
            context.flow_run_suspension_request.raise_if_requested()

    return both
