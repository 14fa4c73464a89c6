"""The tables [[rules]] of review.toml: the rules of a team."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tasks.core.selection import pattern_problem

__all__ = ["RuleSettings"]


class RuleSettings(BaseModel):
    """One table [[rules]]: what the team wants looked for, or left alone, in the files that it covers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    paths: tuple[str, ...] = ()
    """Patterns as in a .gitignore of the paths that it is for; empty: all."""
    text: str = Field(min_length=1)
    """The rule in words, as the models read it."""

    @field_validator("paths")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if problem := pattern_problem(value):
            raise ValueError(problem)
        return value
