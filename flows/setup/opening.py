"""What a run does before its first call: settings, keys, folder, source, inputs, shards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from flows.setup.config import new_run, new_run_id, read_config, run_paths, with_batch, with_mode
from flows.setup.fresh_start import goes_on, since_first_start
from flows.setup.keys import resolve_keys
from flows.setup.manifest import make_work
from flows.setup.preflight import check_output, check_workers
from flows.setup.source_range import SourceRange, resolve_source
from flows.shards import fork_server
from flows.ui.run_log import Log, into_run
from tasks.core.files import hold_folder
from tasks.core.paths import RunPaths
from tasks.core.run import Run
from tasks.doctor.preflight import check_canaries
from tasks.infer.thread_count import ensure_open_files
from tasks.load.canaries import as_draw
from tasks.load.sources.git.repositories import read_all_rule_files
from tasks.load.task import Loaded
from tasks.merge.baseline import Baseline, find_baseline, is_reviewed, source_key
from tasks.outputs.occupied import check_unoccupied
from tasks.review.prompts.team_rules import TeamRules
from tasks.shard.task import default_shards, fewest_shards

__all__ = ["OpenRun", "Wanted", "open_run"]

_OWN_SETTINGS = (
    "%s lies inside the code under review, which could change keys, endpoints and policy by it: keep "
    "it outside, and name it by --config"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asked for; see the flow bulk_review."""

    source: str
    config: str = "review.toml"
    output: str | None = None
    limit: int | None = None
    fresh: bool = False
    mode: str = "as_configured"
    batch: str = "as_configured"
    previous: str | None = None
    resolved: str | None = None
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that holds its folder and has an empty work folder in it."""

    run: Run
    paths: RunPaths
    taken: SourceRange
    baseline: Baseline
    limit: int | None
    started: float
    """Seconds since the epoch."""

    @property
    def rules(self) -> TeamRules:
        """The team's rules as prompts have them."""
        return TeamRules(self.run.settings, self.run.rules)

    def load(self, load: Callable[..., Loaded], **more: Any) -> Loaded:
        """Read the source by `load`, the stage or its task, which gets `more` as well."""
        settings = self.run.settings
        return load(
            *(self.taken.resolved, self.paths.staged, self.limit, settings.max_input_tokens),
            settings.load_options,
            rules=self.rules,
            draw=as_draw(settings.canaries, self.run.run_id),
            **more,
        )

    def shards(self, inputs: int) -> int:
        """Into how many shards so many loaded inputs are cut at most."""
        settings = self.run.settings
        wanted = settings.shards or default_shards(inputs, settings.processes)
        if settings.workers is None:
            return wanted
        return max(wanted, fewest_shards(self.paths.inputs.stat().st_size))


@contextmanager
def open_run(wanted: Wanted, log: Log) -> Iterator[OpenRun]:
    """Check what can be checked, hold the output folder and make the work folder in it.

    In the block lines of our libraries go to `log`.

    Raises:
        UserError: settings, keys, source or output folder cannot be used.
        StateError: the state cannot be used.
    """
    source, config = wanted.source, wanted.config
    settings = with_batch(with_mode(read_config(config), wanted.mode), wanted.batch)
    check_workers(settings)
    if settings.workers is None:
        resolve_keys(settings)
        fork_server.warm_up()
    run = new_run(new_run_id(), settings, fresh=wanted.fresh)
    ensure_open_files(run.threads if settings.workers is None else 0)
    paths = run_paths(wanted.output, run.run_id)
    if not wanted.overwrite:
        check_unoccupied(paths, source_key(source))
    check_output(paths)
    check_canaries(settings, source)
    with hold_folder(paths.root, paths.lock, settings.state_mode), into_run(log):
        if is_reviewed(Path(config), source):
            log.warning(_OWN_SETTINGS, config)
        asked, run = run.fresh_since, since_first_start(run, source, paths)
        if line := goes_on(run, asked):
            log.info("%s", line)
        taken = resolve_source(
            source, wanted.resolved, paths, run, config=config, limit=wanted.limit
        )
        baseline = find_baseline(settings.suppressions, wanted.previous, source, paths, log)
        started = time.time()
        run = replace(run, rules=tuple(read_all_rule_files(taken.resolved, settings.rule_files)))
        # Arrow's own pool keeps what was freed: 75 MB where this one has 42, for 240,000 calls.
        pa.set_memory_pool(pa.system_memory_pool())
        make_work(paths, run)
        for line in taken.lines():
            log.info("%s", line)
        yield OpenRun(run, paths, taken, baseline, wanted.limit, started)
