"""`--estimate`: what a run would take, without a call, a server or a file left behind."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tasks.estimate.loads import COMMENTS_PER_CHECK, Load, cost, duration, pick, total
from tasks.core.paths import RunPaths
from tasks.load.rows import stored_input
from tasks.core.settings import Settings
from tasks.core.state_places import is_database, journal_place
from tasks.estimate.quota_time import least_seconds
from tasks.estimate.dry_run import Rehearsal
from tasks.load.task import Loaded, load_source
from tasks.upstream.journal import Journal, open_journal

__all__ = ["Estimate", "estimate", "show_estimate"]

_WHOLE = 5_000
"""Inputs up to which every prompt is made and counted."""
_SAMPLE = 2_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A run before it starts."""

    loaded: Loaded
    sampled: int
    """Inputs that were really looked at."""
    loads: tuple[Load, ...]
    seconds: float
    """Least time that the quotas allow; 0: they do not bound it."""


def estimate(source: str, settings: Settings, limit: int | None, *, fresh: bool) -> Estimate:
    """Read SOURCE as a run does, and rehearse its inputs against the journal.

    Raises:
        SourceError, StateError: the source or the journal cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder, _journal(settings) as journal:
        paths = RunPaths(Path(folder))
        paths.work.mkdir()
        loaded = load_source(source, paths, limit, settings.max_input_tokens, settings.git.options)
        rehearsal = Rehearsal(settings, journal, time.time() if fresh else None)
        most = _SAMPLE if loaded.inputs > _WHOLE else _WHOLE
        wanted = set(pick(loaded.inputs, most)) if loaded.inputs else set()
        with paths.inputs.open("rb") as file:
            for number, line in enumerate(file):
                if number in wanted:
                    rehearsal.take(stored_input(line))
    factor = loaded.inputs / len(wanted) if wanted else 0.0
    loads = tuple(load.scaled(factor) for load in rehearsal.loads())
    return Estimate(loaded, len(wanted), loads, _seconds(settings, loads))


@contextmanager
def _journal(settings: Settings) -> Iterator[Journal | None]:
    place = journal_place(settings.state)
    if not is_database(place) and not Path(place).exists():
        yield None
        return
    with open_journal(place) as journal:
        yield journal


def _seconds(settings: Settings, loads: Sequence[Load]) -> float:
    calls = total(loads, "calls")
    incoming, outgoing = total(loads, "input_tokens"), total(loads, "output_tokens")
    tokens = {model: incoming[model] + outgoing[model] for model in incoming}
    return least_seconds(settings.pool, settings.margin, calls, tokens)


def show_estimate(found: Estimate, settings: Settings) -> None:
    """Print it for a person."""
    console = Console()
    loaded = found.loaded
    title = f"estimate for {loaded.inputs:,} inputs, {loaded.rejected:,} rows rejected"
    table = Table(title=title, title_justify="left")
    for head in ("model", "calls", "from journal", "tokens in", "tokens out", "cost"):
        table.add_column(head, justify="left" if head == "model" else "right")
    for load in found.loads:
        table.add_row(f"{load.name} ({load.model})", *_figures([load], settings))
    table.add_section()
    table.add_row("all", *_figures(found.loads, settings))
    console.print(table)
    for line in _notes(found, settings):
        print(line)


def _figures(loads: Sequence[Load], settings: Settings) -> list[str]:
    fields = ("calls", "journaled", "input_tokens", "output_tokens")
    sums = [sum(getattr(load, field) for load in loads) for field in fields]
    costs = [cost(load, settings.prices) for load in loads]
    known = [one for one in costs if one is not None]
    dollars = f"${sum(known):,.2f}"
    if len(known) < len(costs):
        dollars = f"over {dollars}" if sum(known) else "unknown"
    return [f"{one:,.0f}" for one in sums] + [dollars]


def _notes(found: Estimate, settings: Settings) -> Iterator[str]:
    if found.seconds:
        end = time.strftime("%a %d %b %H:%M", time.localtime(time.time() + found.seconds))
        yield f"at least {duration(found.seconds)} under the quotas, so until {end} if started now"
    elif any(load.calls for load in found.loads):
        yield "the quotas do not bound the time: the endpoints and threads do"
    if found.sampled < found.loaded.inputs:
        yield f"scaled up from an even sample of {found.sampled:,} inputs"
    if assumed := sum(load.assumed for load in found.loads):
        yield (
            f"{assumed:,.0f} review calls are assumed: {COMMENTS_PER_CHECK:g} comments per check and "
            "prompt that is not answered yet"
        )
    sizes = ", ".join(f"{one.name} {one.expected_tokens}" for one in settings.check)
    yield f"tokens out from expected_tokens in the settings: {sizes}{_review_size(settings)}"


def _review_size(settings: Settings) -> str:
    if not settings.reviews or settings.review is None:
        return ""
    return f", review {settings.review.expected_tokens}"
