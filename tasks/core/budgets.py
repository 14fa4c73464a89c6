"""Budgets as typed settings: the most that a run, or a day, may spend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from tasks.core.fields import Table

__all__ = ["NANOS", "BudgetCaps", "BudgetSettings", "Cap", "Unit", "amount_text"]

Unit = Literal["nanos", "tokens", "calls"]
NANOS = 10**9
"""Of one US dollar: sums of whole ones are exact, whatever their order."""


@dataclass(frozen=True, slots=True)
class Cap:
    """A cap: the most that may be spent of one unit."""

    name: str
    """As in review.toml: "budget.per_day.usd"."""
    period: Literal["run", "day"]
    unit: Unit
    limit: int


class BudgetCaps(Table):
    """Caps on what may be spent; a cap that is left out is not bounded."""

    usd: float | None = Field(default=None, gt=0)
    """US dollars, by [prices]: every model needs one."""
    tokens: int | None = Field(default=None, ge=1)
    """Prompts and replies together."""
    calls: int | None = Field(default=None, ge=1)
    """Requests that reach an endpoint, refused ones included."""


class BudgetSettings(BudgetCaps):
    """The table [budget]: caps of one run and, in `per_day`, of all runs on one state in a day (UTC)."""

    per_day: BudgetCaps = BudgetCaps()

    @property
    def caps(self) -> tuple[Cap, ...]:
        """Every cap that is set, those of the run first."""
        run = (Cap(f"budget.{name}", "run", unit, limit) for name, unit, limit in _limits(self))
        day = (
            Cap(f"budget.per_day.{name}", "day", unit, limit)
            for name, unit, limit in _limits(self.per_day)
        )
        return (*run, *day)

    @property
    def needs_prices(self) -> bool:
        """Whether dollars are bounded."""
        return self.usd is not None or self.per_day.usd is not None


def _limits(caps: BudgetCaps) -> Iterator[tuple[str, Unit, int]]:
    if caps.usd is not None:
        yield "usd", "nanos", round(caps.usd * NANOS)
    if caps.tokens is not None:
        yield "tokens", "tokens", caps.tokens
    if caps.calls is not None:
        yield "calls", "calls", caps.calls


def amount_text(unit: Unit, amount: int) -> str:
    """`$12.30`, `1,200 tokens` or `30 calls`."""
    if unit != "nanos":
        return f"{amount:,} {unit}"
    dollars = amount / NANOS
    return f"${dollars:,.2f}" if dollars >= 1 or not dollars else f"${dollars:,.4g}"
