"""What the tables of review.toml have in common: their base, and the types of some of their fields."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from tasks.core.errors import ConfigError
from tasks.core.quotas import parse_duration
from tasks.core.selection import pattern_problem

__all__ = ["Duration", "Patterns", "Table"]


class Table(BaseModel):
    """A table: keys that it does not have are refused, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _duration(text: str) -> str:
    try:
        parse_duration(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return text


def _patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if problem := pattern_problem(patterns):
        raise ValueError(problem)
    return patterns


Duration = Annotated[str, AfterValidator(_duration)]
"""A number and its unit, as parse_duration reads it: "10m"."""
Patterns = Annotated[tuple[str, ...], AfterValidator(_patterns)]
"""As in a .gitignore."""
