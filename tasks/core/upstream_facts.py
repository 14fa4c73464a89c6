"""Types of manifest.json: what a run sent and spent, and what providers said and wanted otherwise."""

from __future__ import annotations

from typing import NotRequired, TypedDict

__all__ = [
    "BatchFacts",
    "BudgetRow",
    "ClosedModel",
    "FailureFacts",
    "HoldFacts",
    "QuotaProof",
    "QuotaProofRow",
    "UpstreamFacts",
]


QuotaProofRow = TypedDict(
    "QuotaProofRow",
    {
        "app_id": str,
        "sends": int,
        "429s": int,
        "most in a window": str,
        "most tokens in a window": NotRequired[str],
        "slots available": int | None,
        "waited s": float,
        "margin s": float,
        "disabled": str | None,
    },
)
"""One app_id: its keys are the columns of the report's table."""


class QuotaProof(TypedDict):
    """What each app_id sent against what its windows allow. Times in seconds."""

    kept: bool
    """No request window held more sends of this state than the limits in force, and no 429 came.

    What others send with the same keys is not in it; windows of tokens are told by `over_tokens`."""
    exceeded: NotRequired[bool]
    """A window held more sends than the limits in force allowed."""
    raised: NotRequired[list[str]]
    """Windows that held more than review.toml says, within an operator's limit."""
    over_tokens: NotRequired[list[str]]
    """Windows of tokens that held more than their limit, by what the replies told."""
    sends: int
    rate_limited: int
    """Sends that were answered with 429."""
    span_s: float
    """First send to last."""
    optimum_s: float
    """The shortest span in which the quotas allow that many sends."""
    app_ids: list[QuotaProofRow]


class BudgetRow(TypedDict):
    """A cap of the budget; US dollars where its name ends in usd."""

    cap: str
    """As in review.toml: budget.per_day.usd."""
    limit: float
    spent: float
    share: float
    """Of the limit; above 1 where calls in flight cost more than estimated."""
    reached: bool
    """Whether it kept calls of the run back."""


class FailureFacts(TypedDict):
    """Failed calls with the same reason, endpoint and model."""

    reason: str
    endpoint: str | None
    model: str | None
    calls: int
    said: str
    """One example of what was said, scrubbed; empty: nothing was."""
    is_reply: bool
    """`said` is the start of a model's reply that could not be read, and not a refusal."""


class HoldFacts(TypedDict):
    """What a provider took away from an app_id for a while: its leave to send, or part of its limit."""

    app_id: str
    seen: str
    """When the run met it; ISO 8601, UTC, as the next."""
    until: str | None
    """End of the hold; None: its limit was lowered."""
    said: str
    """The provider's words, scrubbed."""


class ClosedModel(TypedDict):
    """A model that an endpoint refused whatever was asked, to the end of the run."""

    endpoint: str
    model: str
    said: str


class UpstreamFacts(TypedDict):
    """What providers said and wanted otherwise during a run."""

    failures: list[FailureFacts]
    """Largest group first."""
    holds: list[HoldFacts]
    closed: list[ClosedModel]
    adapted: dict[str, str]
    """How requests are sent otherwise, by "model at endpoint"."""
    goes_on_at: str | None
    """First instant, ISO 8601, at which a rerun can go on; None: at once."""


class BatchFacts(TypedDict):
    """A batch that a run had to do with."""

    batch_id: str
    """The provider's."""
    run_id: str
    """The run that handed it in."""
    app_id: str
    model: str
    state: str
    """In the provider's words."""
    requests: int
    answered: int
    refused: int
    """Questions that were refused for good."""
    late: bool
    """The deadline has cancelled it."""
    created: str
    """ISO 8601, UTC."""
