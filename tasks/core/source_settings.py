"""The tables [git] and [[source]] of review.toml: where inputs come from, and what is taken."""

from __future__ import annotations

from pydantic import Field

from tasks.core.fields import Patterns, Table
from tasks.core.selection import DEFAULT_EXCLUDE, GitOptions

__all__ = ["GitSettings", "SourceSettings"]


class GitSettings(Table):
    """The table [git]: what is taken from a git source; folders use all but `context`."""

    include: Patterns = ()
    """Patterns as in a .gitignore; empty: every file."""
    exclude: Patterns = ()
    """Added to the default ones; exclusion wins over `include`, a later "!PATTERN" takes back."""
    default_excludes: bool = True
    """Leave out lock files, vendored, generated and minified code, snapshots and data."""
    max_bytes: int = Field(default=400_000, ge=1000)
    """Bytes of one file's diff, or of one file in a folder; larger ones are rejected."""
    context: int = Field(default=10, ge=0, le=1000)
    """Unchanged lines around each change of a diff."""

    @property
    def options(self) -> GitOptions:
        """The options as the readers of git and folder sources take them."""
        defaults = DEFAULT_EXCLUDE if self.default_excludes else ()
        exclude = (*defaults, *self.exclude)
        return GitOptions(self.include, exclude, self.max_bytes, self.context)


class SourceSettings(Table):
    """One table [[source]]: a repository, or the one source, of runs that name no SOURCE."""

    at: str = Field(min_length=1)
    """As SOURCE: "git:../shop@since=last"."""
