"""What a run will ask of its models: calls, tokens and cost, before any call is made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.core.calls import Via
from tasks.core.prices import Price
from tasks.core.settings import Settings

__all__ = [
    "Load",
    "assumed_calls",
    "batched_models",
    "duration",
    "load_cost",
    "pick",
    "sum_by_model",
]

COMMENTS_PER_CHECK = 2.0
"""Comments that a check is assumed to make on one part of an input nobody asked about yet."""


@dataclass(frozen=True, slots=True)
class Load:
    """Calls to one model under one name. Tokens are those of `calls`, not of journaled ones."""

    name: str
    model: str
    calls: float = 0
    """To be made."""
    journaled: float = 0
    """Answered in the journal already."""
    input_tokens: float = 0
    output_tokens: float = 0
    assumed: float = 0
    """Those of `calls` that depend on answers nobody has yet."""

    def scaled(self, factor: float) -> Load:
        """The load of a whole of which this is the sample, in whole calls and tokens."""
        counts = (self.calls, self.journaled, self.input_tokens, self.output_tokens, self.assumed)
        return Load(self.name, self.model, *(round(count * factor) for count in counts))


def assumed_calls(checks: int, batch: int, known: int = 0) -> int:
    """Review calls for one part that `checks` checks have not commented on yet, and tools `known` times."""
    return math.ceil((COMMENTS_PER_CHECK * checks + known) / batch)


def sum_by_model(loads: Iterable[Load], field: str) -> dict[str, float]:
    """Sum of a field of `loads` by model."""
    sums: dict[str, float] = {}
    for load in loads:
        sums[load.model] = sums.get(load.model, 0) + getattr(load, field)
    return sums


def load_cost(load: Load, prices: Mapping[str, Price], via: Via = "online") -> float | None:
    """US dollars of the calls to be made; None: the model has no price, and they are not free."""
    if not load.calls:
        return 0.0
    price = prices.get(load.model)
    if price is None:
        return None
    dollars = load.input_tokens * price.input + load.output_tokens * price.output
    return dollars * price.share(via) / 1e6


def batched_models(loads: Iterable[Load], settings: Settings) -> tuple[str, ...]:
    """Models whose calls a run would hand to a Batch API; nobody is asked whether it takes them."""
    least = settings.batch.min_calls if settings.batch.use == "auto" else 1
    calls = sum_by_model(loads, "calls")
    pool = settings.batch_pool
    return tuple(
        model
        for model, count in calls.items()
        if count >= least and any(one.serves(model) for one in pool)
    )


def pick(count: int, most: int) -> list[int]:
    """Positions of at most `most` of `count` things, evenly spread."""
    taken = min(count, most)
    return [index * count // taken for index in range(taken)]


def duration(seconds: float) -> str:
    """`3 h 07 min`, `2 min 05 s` or `35 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
