"""The table [policy] of review.toml: which judged comments become findings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from tasks.core.fields import Table
from tasks.core.records import CATEGORIES, SEVERITIES, Severity

__all__ = ["Policy"]


class Policy(Table):
    """The table [policy]: what verdicts lead to; a finished run can be decided anew with other values.

    Scores are the review model's, 0 to 10.
    """

    keep_uncertain_score: int = Field(default=5, ge=0, le=10)
    """An uncertain comment is kept from this score on."""
    min_score: int = Field(default=0, ge=0, le=10)
    """A confirmed or uncertain comment below this score is dropped."""
    min_scores: dict[str, Annotated[int, Field(ge=0, le=10)]] = Field(default_factory=dict)
    """Instead of min_score for a category, "style", or one of its severities, "bug/low", which wins."""
    min_severity: Severity = "low"
    """Anything milder is dropped, with mode "check" as well."""
    require_evidence: bool = False
    """A confirmed comment is dropped when the line that is to prove it does not stand in the input."""

    @field_validator("min_scores")
    @classmethod
    def _known(cls, value: dict[str, int]) -> dict[str, int]:
        known = {*CATEGORIES, *(f"{one}/{other}" for one in CATEGORIES for other in SEVERITIES)}
        if unknown := [name for name in value if name not in known]:
            msg = (
                f"{unknown[0]!r} is no category; use one of {', '.join(CATEGORIES)}, alone or with "
                'a severity as "bug/low"'
            )
            raise ValueError(msg)
        return value

    def min_score_of(self, category: str, severity: str) -> int:
        """The score that a comment of this category and severity needs."""
        of_category = self.min_scores.get(category, self.min_score)
        return self.min_scores.get(f"{category}/{severity}", of_category)
