"""The command that says what a run would take."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from flows.setup.config import read_config
from flows.ui.terminal import mute_prefect_console
from tasks.core.budgets import NANOS, amount_text
from tasks.core.calls import Via
from tasks.core.settings import Settings
from tasks.estimate.loads import COMMENTS_PER_CHECK, Load, duration, load_cost
from tasks.load.sources import check_source

if TYPE_CHECKING:
    from tasks.estimate.estimate import Estimate

__all__ = ["print_estimate", "show_estimate"]


def print_estimate(source: str, *, config: str, limit: int | None, fresh: bool) -> int:
    """Estimate a run of SOURCE and print it; returns the exit code.

    Raises:
        ReviewError: the configuration, SOURCE or the journal cannot be used.
    """
    settings = read_config(config)
    check_source(source)
    mute_prefect_console()
    from flows.setup.source_range import resolved_now  # noqa: PLC0415 - imports Prefect
    from tasks.estimate.estimate import estimate  # noqa: PLC0415 - imports Prefect

    source = resolved_now(source, config, settings)
    show_estimate(estimate(source, settings, limit, fresh=fresh), settings)
    return 0


def show_estimate(found: Estimate, settings: Settings) -> None:
    """Print an estimate for a person."""
    console = Console(markup=False)
    loaded = found.loaded
    canaries = f" and {loaded.canaries:,} canaries" if loaded.canaries else ""
    title = f"estimate for {loaded.inputs:,} inputs{canaries}, {loaded.rejected:,} rows rejected"
    table = Table(title=title, title_justify="left")
    heads = ("model", "calls", "from journal", "tokens in", "tokens out", "cost")
    for head in (*heads, "by batch") if found.batched else heads:
        table.add_column(head, justify="left" if head == "model" else "right")
    for load in found.loads:
        table.add_row(f"{load.name} ({load.model})", *_figures([load], found, settings))
    table.add_section()
    table.add_row("all", *_figures(found.loads, found, settings))
    console.print(table)
    for line in _notes(found, settings):
        print(textwrap.fill(line, 80, break_on_hyphens=False))


def _figures(loads: Sequence[Load], found: Estimate, settings: Settings) -> list[str]:
    fields = ("calls", "journaled", "input_tokens", "output_tokens")
    sums = [sum(getattr(load, field) for load in loads) for field in fields]
    costs = [_dollars([load_cost(one, settings.prices, _way(one, settings)) for one in loads])]
    if found.batched:
        costs.append(_dollars([_batch_cost(one, found, settings) for one in loads]))
    return [f"{one:,.0f}" for one in sums] + costs


def _dollars(costs: Sequence[float | None]) -> str:
    known = [one for one in costs if one is not None]
    dollars = f"${sum(known):,.2f}"
    if len(known) < len(costs):
        return f"over {dollars}" if sum(known) else "unknown"
    return dollars


def _way(load: Load, settings: Settings) -> Via:
    """How its calls go online."""
    named = {check.name: check for check in settings.check}
    model = named.get(load.name, settings.review)
    return "flex" if model is not None and model.service_tier == "flex" else "online"


def _batch_cost(load: Load, found: Estimate, settings: Settings) -> float | None:
    via = "batch" if load.model in found.batched else _way(load, settings)
    return load_cost(load, settings.prices, via)


def _batch_notes(found: Estimate, settings: Settings) -> Iterator[str]:
    """What changes when calls go through a Batch API."""
    if not found.batched:
        return
    calls = sum(load.calls for load in found.loads if load.model in found.batched)
    rounds = "two rounds, checks and then reviews" if settings.reviews else "one round"
    beside = (
        f"at least {duration(found.seconds_beside)} under the quotas for the others"
        if found.seconds_beside
        else "and the others are not bound by quotas"
    )
    yield (
        f"by batch: {calls:,.0f} calls in {rounds}, each within 24 hours and usually sooner, {beside}; "
        f"what has no answer by the deadline ({settings.batch.deadline}) goes online, at the full price"
    )


def _notes(found: Estimate, settings: Settings) -> Iterator[str]:
    if found.seconds:
        end = time.strftime("%a %d %b %H:%M", time.localtime(time.time() + found.seconds))
        yield f"at least {duration(found.seconds)} under the quotas, so until {end} if started now"
    elif any(load.calls for load in found.loads):
        yield "the quotas do not bound the time: the endpoints and threads do"
    yield from _batch_notes(found, settings)
    yield from _budget_notes(found, settings)
    if found.sampled < found.loaded.inputs + found.loaded.canaries:
        yield f"scaled up from an even sample of {found.sampled:,} inputs"
    if assumed := sum(load.assumed for load in found.loads):
        yield (
            f"{assumed:,.0f} review calls are assumed: {COMMENTS_PER_CHECK:g} comments per check and "
            "prompt that is not answered yet"
        )
    yield from _tool_notes(found, settings)
    sizes = [f"{one.name} {one.expected_tokens}" for one in settings.check]
    if settings.reviews and settings.review is not None:
        sizes.append(f"review {settings.review.expected_tokens}")
    if sizes:
        yield f"tokens out from expected_tokens in the settings: {', '.join(sizes)}"


def _tool_notes(found: Estimate, settings: Settings) -> Iterator[str]:
    names = ", ".join(one.name for one in settings.tool_check)
    if names:
        yield f"tools make no call: {names}; those that the review model is asked about were run"
    for name, words in found.complaints.items():
        yield f"the tool of check {name} failed ({words})"


def _budget_notes(found: Estimate, settings: Settings) -> Iterator[str]:
    """Whether the run would fit into what is left of each cap."""
    needs = {
        "nanos": sum(_batch_cost(load, found, settings) or 0.0 for load in found.loads) * NANOS,
        "tokens": sum(load.input_tokens + load.output_tokens for load in found.loads),
        "calls": sum(load.calls for load in found.loads),
    }
    for use in found.budget:
        cap, needed = use.cap, round(needs[use.cap.unit])
        left = max(0, cap.limit - use.spent)
        text = (
            f"{amount_text(cap.unit, needed)} of {amount_text(cap.unit, left)} left of {cap.name}"
        )
        if needed <= left:
            yield f"{text}: the run fits"
        else:
            yield (
                f"{text}: the run ends INCOMPLETE after {left / needed:.0%} of its calls; raise it, "
                "or let later runs go on"
            )
