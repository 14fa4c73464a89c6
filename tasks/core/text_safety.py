"""Text that every store and server can hold."""

from __future__ import annotations

import re

__all__ = ["cut", "plain"]

# NUL ends a C string; half a surrogate pair has no UTF-8 form, so JSON and Parquet refuse it.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def plain(text: str) -> str:
    """`text` with NUL and lone surrogates replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, the last of them an ellipsis where something was left out."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "\u2026"
