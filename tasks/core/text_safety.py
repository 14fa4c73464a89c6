"""Text made safe for every store and server, and short enough for a table."""

from __future__ import annotations

import re

__all__ = ["ellipsize", "storable"]

# NUL ends a C string; half a surrogate pair has no UTF-8 form, so JSON and Parquet refuse it.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """The text with each NUL and lone surrogate replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def ellipsize(text: str, limit: int) -> str:
    """The text's first characters, at most `limit`, with an ellipsis where some were left out."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "\u2026"
