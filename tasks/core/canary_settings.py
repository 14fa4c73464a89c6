"""The table [canaries] of review.toml: labelled inputs that every run reviews among its own."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from tasks.core.fields import Table

__all__ = ["CANARY", "CanarySettings"]

CANARY: Final = "nightly-review canary"
"""The further column that marks a canary among the inputs of a run: it is asked anew."""


class CanarySettings(Table):
    """Which labelled inputs, and how many of them a run draws."""

    file: str = Field(min_length=1)
    """Rows as in a SOURCE, each with `expected`; never a file inside the code under review."""
    per_night: int = Field(default=12, ge=1, le=1000)
    """Canaries of one run; all of them where the file has fewer."""
