"""One question about one input, before it is put to a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.core.calls import TokenCount
from tasks.core.check_settings import CheckSettings, ReviewSettings
from tasks.review.prompts import Messages

__all__ = ["Query"]


@dataclass(frozen=True, slots=True)
class Query:
    """One call of a cell, before the reply format is chosen."""

    input_id: str
    stage: Literal["check", "review"]
    name: str
    part: int
    messages: Messages
    prompt_version: str
    settings: CheckSettings | ReviewSettings
    counted: TokenCount
    anew: bool = False
    """Whether an answer from before this run is none: that of a canary has to be this run's."""
