"""A bound around our own defects: one input that breaks our code costs its cell, and not its shard."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from tasks.core.calls import Reply
from tasks.core.errors import ReplyError, ReviewError

__all__ = ["INTERNAL_ERROR", "fenced_parse", "is_ours", "short_traceback"]

_T = TypeVar("_T")

INTERNAL_ERROR = "internal_error"
_FRAMES = 6
_LONGEST = 3000
"""Characters of a traceback: its message may hold a whole reply."""


def is_ours(error: BaseException) -> bool:
    """Whether an error is a defect of ours in one input, and nothing that the whole shard has to end for."""
    return isinstance(error, Exception) and not isinstance(error, ReviewError | MemoryError)


def fenced_parse(
    parse: Callable[[Reply], _T], broken: Callable[[Exception], None]
) -> Callable[[Reply], _T]:
    """`parse`, of which a defect becomes a ReplyError of code internal_error, told to `broken`."""

    def fenced(reply: Reply) -> _T:
        try:
            return parse(reply)
        except Exception as error:
            if not is_ours(error):
                raise
            broken(error)
            msg = f"our parser failed on it ({type(error).__name__})"
            raise ReplyError(msg, code=INTERNAL_ERROR) from None

    return fenced


def short_traceback(error: BaseException) -> str:
    """The last frames of an error and its message, cut."""
    lines = traceback.format_exception(error, limit=-_FRAMES, chain=False)
    text = "".join(lines).rstrip()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
