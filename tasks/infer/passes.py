"""Which inputs are worth another pass, because what failed may go well next time, and their cost.

A pass costs only the calls that failed: the journal answers the others.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from tasks.core.records import CallRow, InputReview
from tasks.core.settings import Settings
from tasks.infer.call_rows import with_spent

__all__ = ["PASSES", "Passes", "with_earlier_calls"]

PASSES = 3
"""Times that an input is gone through at most, each with the attempts that a call has."""

_TRANSPORT = frozenset({"timeout", "connect", "reset", "server_error", "overloaded", "stream_cut"})
"""Failures of the way, not of the question."""

_FORM = frozenset({"bad_reply", "empty_reply", "unparseable", "wrong_shape", "no_usable_item"})
"""Replies that could not be read, although asked for twice or more."""

_RARE = 0.1
"""A model that fails to keep the form more often than this will fail again: more calls are waste."""


class Passes:
    """Decides for a whole shard, so that it does not matter which slice a reply is in. Thread-safe.

    Each model has its unreadable replies asked for once more as long as they are at most a tenth of
    the calls that the shard plans for it, and at least one.
    """

    def __init__(self, settings: Settings, inputs: int) -> None:
        planned = Counter(check.model for check in settings.check)
        if settings.reviews and settings.review is not None:
            planned[settings.review.model] += 1
        self._left = {model: max(1, int(_RARE * n * inputs)) for model, n in planned.items()}
        self._lock = threading.Lock()

    def worth_another(self, reviews: Iterable[InputReview]) -> set[str]:
        """Ids of the inputs to go through once more."""
        return {review.input_id for review in reviews if self._is_worth(review.calls)}

    def _is_worth(self, calls: Iterable[CallRow]) -> bool:
        failed = [call for call in calls if call.status == "failed"]
        unreadable = [call.model for call in failed if call.reason in _FORM]
        # Both are asked: a shared pass takes what it needs from each budget.
        affordable = bool(unreadable) and self._take(Counter(unreadable))
        return affordable or any(call.reason in _TRANSPORT for call in failed)

    def _take(self, wanted: Counter[str]) -> bool:
        with self._lock:
            if any(self._left.get(model, 0) < count for model, count in wanted.items()):
                return False
            for model, count in wanted.items():
                self._left[model] -= count
            return True


def with_earlier_calls(review: InputReview, before: InputReview) -> InputReview:
    """A review of a later pass, with what the pass before paid and what has no row in it any more."""
    rows = list(review.calls)
    known = {row.trace_id for row in rows}
    for row in before.calls:
        if row.attempts and not row.journaled and row.trace_id not in known:
            place = _place_of(row, rows)
            rows[place] = with_spent(rows[place], row)
    return replace(review, calls=tuple(rows))


def _place_of(row: CallRow, rows: list[CallRow]) -> int:
    """The row of the same part, else of the same cell: each cell has one."""

    def distance(at: int) -> tuple[bool, bool]:
        other = rows[at]
        return (other.stage, other.name) != (row.stage, row.name), other.part != row.part

    return min(range(len(rows)), key=distance)
