"""A team's own rules for its code, as they were found; see tasks.review.prompts.team_rules for what a model reads of them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RuleFile", "RuleUse"]


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A file of rules, as REVIEW.md: it covers its own folder and those below."""

    repo: str
    """The repository's name, as inputs carry it in their column `repo`."""
    path: str
    """Within the repository, with slashes."""
    text: str
    changed: bool = False
    """The commits under review change it; `text` is what stood before them."""

    @property
    def folder(self) -> str:
        """The folder that it covers; empty: all of the repository."""
        return self.path.rpartition("/")[0]


@dataclass(slots=True)
class RuleUse:
    """To how many inputs of a run one of the rules applied."""

    inputs: int = 0
    cut: int = 0
    """Of them, those for which only its beginning was within max_rule_tokens."""
    left_out: int = 0
    """Inputs that it covers and for which nothing of it was."""
    changed: bool = False
    """See RuleFile."""
