"""What a run would take, without a call, a server or a file left behind."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tasks.core.locations import is_database, journal_location, ledger_location
from tasks.core.paths import RunPaths
from tasks.core.settings import Settings
from tasks.estimate.dry_run import DryRun
from tasks.estimate.loads import Load, batched_models, pick, sum_by_model
from tasks.estimate.quota_time import least_seconds
from tasks.load.canaries import as_draw
from tasks.load.sources.git.repositories import read_all_rule_files
from tasks.load.task import Loaded, load_source
from tasks.outputs.stored import stored_input
from tasks.review.prompts.team_rules import TeamRules
from tasks.upstream.budget import CapUse, read_budget
from tasks.upstream.journal import Journal, open_journal

__all__ = ["Estimate", "estimate"]

_WHOLE = 5_000
"""Inputs up to which every prompt is made and counted."""
_SAMPLE = 2_000
_AT_ONCE = 200
"""Inputs that a tool looks at in one go."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A run before it starts."""

    loaded: Loaded
    sampled: int
    """Inputs that were really looked at."""
    loads: tuple[Load, ...]
    seconds: float
    """Least time that the quotas allow; 0: they do not bound it."""
    batched: tuple[str, ...] = ()
    """Models whose calls go through a Batch API."""
    seconds_beside: float = 0.0
    """Least time of the calls that then go online."""
    budget: tuple[CapUse, ...] = ()
    """What is spent of each cap before the run starts; those of a run are whole."""
    complaints: Mapping[str, str] = field(default_factory=dict)
    """Code and words of tools that failed, by the check's name."""


def estimate(source: str, settings: Settings, limit: int | None, *, fresh: bool) -> Estimate:
    """Read SOURCE as a run does, and take its inputs through the steps with the journal alone.

    Raises:
        SourceError, StateError: the source or the journal cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder, _journal(settings) as journal:
        paths = RunPaths(Path(folder))
        paths.work.mkdir()
        draw = as_draw(settings.canaries, "estimate")
        rules = TeamRules(settings, read_all_rule_files(source, settings.rule_files))
        loaded = load_source(
            *(source, paths, limit, settings.max_input_tokens), settings.load_options, draw=draw
        )
        dry_run = DryRun(settings, journal, time.time() if fresh else None, rules)
        planned = loaded.inputs + loaded.canaries
        most = _SAMPLE if planned > _WHOLE else _WHOLE
        wanted = set(pick(planned, most)) if planned else set()
        with paths.inputs.open("rb") as file:
            lines = (line for number, line in enumerate(file) if number in wanted)
            items = map(stored_input, lines)
            while some := list(islice(items, _AT_ONCE)):
                dry_run.take(some)
    factor = planned / len(wanted) if wanted else 0.0
    loads = tuple(load.scaled(factor) for load in dry_run.loads())
    spent = _budget(settings)
    batched = batched_models(loads, settings)
    beside = [load for load in loads if load.model not in batched]
    return Estimate(
        loaded,
        len(wanted),
        loads,
        _seconds(settings, loads),
        batched,
        _seconds(settings, beside),
        spent,
        dry_run.complaints,
    )


def _budget(settings: Settings) -> tuple[CapUse, ...]:
    known = read_budget(ledger_location(settings.state), "", settings.budget)
    return known or tuple(CapUse(cap, 0) for cap in settings.budget.caps)


@contextmanager
def _journal(settings: Settings) -> Iterator[Journal | None]:
    place = journal_location(settings.state)
    if not is_database(place) and not Path(place).exists():
        yield None
        return
    with open_journal(place) as journal:
        yield journal


def _seconds(settings: Settings, loads: Sequence[Load]) -> float:
    calls = sum_by_model(loads, "calls")
    incoming, outgoing = sum_by_model(loads, "input_tokens"), sum_by_model(loads, "output_tokens")
    tokens = {model: incoming[model] + outgoing[model] for model in incoming}
    return least_seconds(settings.quotas, settings.margin, calls, tokens)
