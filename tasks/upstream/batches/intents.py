"""
An intent: one batch from the decision to make it until its rows are in the journal.

    planned --upload--> uploaded --create--> working --it ends--> ended --journal--> read --delete--> closed
       |                   |
       +------- abandoned -+     nothing of it is at the provider, its questions are free again

Each arrow is one durable change, made after what it stands for has happened at the provider, so
whoever dies in between leaves the state before it, and doing the step again is harmless: an upload
costs nothing, a `create` is looked for before it is repeated, rows are journaled under their question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["OPEN", "WAITING", "Intent", "IntentState", "may_become"]

IntentState = Literal["planned", "uploaded", "working", "ended", "read", "closed", "abandoned"]

_NEXT: Mapping[IntentState, frozenset[IntentState]] = {
    "planned": frozenset({"uploaded", "abandoned"}),
    "uploaded": frozenset({"working", "abandoned"}),
    "working": frozenset({"ended"}),
    "ended": frozenset({"read"}),
    "read": frozenset({"closed"}),
    "closed": frozenset(),
    "abandoned": frozenset(),
}

OPEN: tuple[IntentState, ...] = ("planned", "uploaded", "working", "ended", "read")
"""There is something left to do for it."""

WAITING: tuple[IntentState, ...] = ("planned", "uploaded", "working")
"""Its prompts count as enqueued at the provider."""


def may_become(now: IntentState, then: IntentState) -> bool:
    """Whether an intent goes from one state to the other."""
    return then in _NEXT[now]


@dataclass(frozen=True, slots=True)
class Intent:
    """One batch, as the state has it. Times in seconds since the epoch."""

    id: str
    """Ours; the batch's metadata carry it."""
    run_id: str
    app_id: str
    """Alias."""
    provider: str
    """Whose answers they are; see AppId.answers_as."""
    endpoint: str
    """base_url."""
    model: str
    sha256: str
    """Of the request file."""
    requests: int
    prompt_tokens: int
    created: float
    state: IntentState = "planned"
    changed: float = 0.0
    file_id: str = ""
    batch_id: str = ""
    said: str = ""
    """The provider's word for its state."""
    output_file_id: str = ""
    error_file_id: str = ""
    done: int = 0
    """Rows that the provider counts as done."""
    answered: int = 0
    """Rows that went into the journal."""
    refused: int = 0
    """Rows that were refused for good."""
    cancelled: float = 0.0
    """When it was asked to stop; 0: it was not."""
    late: int = 0
    """1: a deadline has cancelled it."""

    @property
    def metadata(self) -> dict[str, str]:
        """What the batch carries at the provider, so that it is found without an id."""
        return {
            "nightly_review_intent": self.id,
            "nightly_review_run": self.run_id[:512],
            "nightly_review_sha256": self.sha256,
        }

    @property
    def left(self) -> int:
        """Rows without an answer."""
        return self.requests - self.answered - self.refused
