"""The tables [prices.<model>] of review.toml: what a call costs."""

from __future__ import annotations

from pydantic import Field

from tasks.core.calls import Usage, Via
from tasks.core.fields import Table

__all__ = ["Price"]


class Price(Table):
    """US dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)
    """Input tokens served from the provider's cache; left out: as `input`."""
    cache_write: float | None = Field(default=None, ge=0)
    """Input tokens that the provider has put into its cache; left out: as `input`."""
    batch: float = Field(default=0.5, ge=0, le=1)
    """What a call through the Batch API costs of it, as a share."""
    flex: float = Field(default=0.5, ge=0, le=1)
    """The same for the flex tier."""

    def share(self, via: Via) -> float:
        """What a call on that way costs, as a share of the price."""
        return {"batch": self.batch, "flex": self.flex}.get(via, 1.0)

    def cost(self, usage: Usage, via: Via = "online") -> float | None:
        """US dollars of so many tokens on a way; None when the usage is unknown."""
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
        written = min(usage.cache_write_tokens or 0, usage.prompt_tokens - cached)
        cached_price = self.input if self.cached is None else self.cached
        write_price = self.input if self.cache_write is None else self.cache_write
        dollars = (usage.prompt_tokens - cached - written) * self.input
        dollars += cached * cached_price + written * write_price
        return (dollars + usage.completion_tokens * self.output) * self.share(via) / 1e6
