"""Which inputs of a slice are worth another pass, because what failed may go well next time.

A pass costs only the calls that failed: the journal answers the others.
"""

from __future__ import annotations

from collections.abc import Iterable

from tasks.core.records import InputReview

__all__ = ["PASSES", "worth_another_pass"]

PASSES = 3
"""Times that an input is gone through at most, each with the attempts that a call has."""

_TRANSPORT = frozenset({"timeout", "connect", "reset", "server_error", "overloaded", "stream_cut"})
"""Failures of the way, not of the question."""

_FORM = frozenset({"bad_reply", "empty_reply", "unparseable", "wrong_shape", "no_usable_item"})
"""Replies that could not be read, although asked for twice or more."""

_RARE = 0.1
"""A model that fails to keep the form more often than this will fail again: more calls are waste."""


def worth_another_pass(reviews: Iterable[InputReview]) -> set[str]:
    """Ids of the inputs to go through once more."""
    failed = {
        review.input_id: {call.reason for call in review.calls if call.status == "failed"}
        for review in reviews
    }
    unreadable = sum(bool(reasons & _FORM) for reasons in failed.values())
    again = _TRANSPORT | (_FORM if unreadable <= _RARE * len(failed) else frozenset())
    return {input_id for input_id, reasons in failed.items() if reasons & again}
