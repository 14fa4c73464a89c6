"""The tables [[rules]] of review.toml: the rules of a team."""

from __future__ import annotations

from pydantic import Field

from tasks.core.fields import Patterns, Table

__all__ = ["RuleSettings"]


class RuleSettings(Table):
    """One table [[rules]]: what the team wants looked for, or left alone, in the files that it covers."""

    paths: Patterns = ()
    """Patterns as in a .gitignore of the paths that it is for; empty: all."""
    text: str = Field(min_length=1)
    """The rule in words, as the models read it."""
