"""The table [policy] of review.toml."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from tasks.review.findings.policy import Policy
from tasks.core.records import Severity

__all__ = ["PolicySettings"]


class PolicySettings(BaseModel):
    """What verdicts lead to; a finished run can be decided anew with other values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_uncertain_score: int = Field(default=5, ge=0, le=10)
    """An uncertain comment is kept from this score on."""
    min_score: int = Field(default=0, ge=0, le=10)
    """A confirmed or uncertain comment below this score is dropped."""
    min_severity: Severity = "low"
    """Anything milder is dropped, with mode "check" as well."""

    @property
    def thresholds(self) -> Policy:
        """The same as the policy takes it."""
        return Policy(**self.model_dump())
