"""The table [notify] of review.toml: of what somebody is told, and where."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.core.fields import Table

__all__ = ["NotifySettings", "Occasion"]

Occasion = Literal[
    "incomplete", "refused", "crashed", "late", "budget", "new_critical", "reviewer_changed"
]


class NotifySettings(Table):
    """Automations that `nightly-review up` and `deploy` install for the nightly's review.toml."""

    on: tuple[Occasion, ...] = Field(min_length=1)
    """What is told."""
    to: str = Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")
    """A notification block of Prefect's server, "<type>/<name>" as "slack-webhook/reviews"."""
