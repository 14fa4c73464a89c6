"""
The first part of a run while its own Prefect server is still coming up: the flow run finds it done.

    always      settings, keys, folder, source, inputs, shards
    and calls   where nothing that Prefect's server knows could forbid them: no quota whose number an
                operator may have changed, no app_id with batches
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module

from flows.setup.key_rules import names_block
from flows.setup.opening import OpenRun, Wanted, open_run
from flows.shards import fork_server
from flows.shards.supervisor import started_early
from flows.ui.progress import stage
from flows.ui.run_log import EarlyLog
from tasks.core.paths import ShardPaths
from tasks.core.settings import Settings
from tasks.load.task import Loaded, load_source
from tasks.shard.task import shard_inputs

__all__ = ["EarlyStart", "early_start", "may_call_early", "may_start_early", "taken_over"]


@dataclass(frozen=True, slots=True)
class EarlyStart:
    """What is done already."""

    opened: OpenRun
    loaded: Loaded
    shards: list[ShardPaths]
    log: EarlyLog
    calling: bool
    """Whether the first shards are at work."""


_SMALL = 1_000
"""Inputs of a run that is over so soon that what makes its report may wait for it, with 60 MB of imports."""

_started: list[EarlyStart] = []


def may_start_early(settings: Settings) -> bool:
    """Whether a run can begin without Prefect's server: Secret blocks and workers need it."""
    return settings.workers is None and not names_block(settings)


def may_call_early(settings: Settings) -> bool:
    """Whether nothing but review.toml says what may be sent."""
    apps = settings.app_ids.values()
    return not any(app.batch for app in apps) and not any(app.windows for app in settings.pool)


@contextmanager
def early_start(wanted: Wanted) -> Iterator[EarlyStart]:
    """Begin a run; the flow run of the block goes on with it.

    Raises:
        UserError, StateError: as `open_run`, and of the load and shard stages.
    """
    log = EarlyLog()
    with ExitStack() as stack:
        opened = stack.enter_context(open_run(wanted, log))
        stage(f"reading {opened.taken.source}")
        loaded = opened.load(load_source)
        shards = shard_inputs(opened.paths, opened.shards(loaded.inputs))
        settings = opened.run.settings
        calling = may_call_early(settings)
        if calling:
            stage(f"reviewing {loaded.inputs:,} inputs in {len(shards):,} shards")
            stack.enter_context(started_early(shards[: settings.processes]))
        if loaded.inputs <= _SMALL:
            fork_server.prepare_call(_import_report)
        begun = EarlyStart(opened, loaded, shards, log, calling)
        _started[:] = [begun]
        stack.callback(_started.clear)
        yield begun


def _import_report() -> None:
    """The modules that the stage's process imports by itself; pandas is one."""
    for name in ("frames", "html_file", "markdown", "summary", "words"):
        import_module(f"tasks.report.{name}")


def taken_over() -> EarlyStart | None:
    """What the flow run that asks goes on with; None: it begins by itself."""
    return _started.pop() if _started else None
