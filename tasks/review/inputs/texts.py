"""Comparing code and prose: what counts as the same line, and how alike two texts are."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

__all__ = [
    "code_key",
    "content_id",
    "count_words",
    "lines_of",
    "quote_key",
    "shared_words",
    "with_line_ends",
]

_WORD = re.compile(r"\w+")


def lines_of(text: str) -> list[str]:
    """The lines of `text` as editors number them: split at newlines only, CRLF tolerated.

    `str.splitlines` would also split at form feeds and U+2028, and shift every number after them.
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines[-1] == "":
        lines.pop()
    return lines


def content_id(content: str) -> str:
    """The id of an input that came without one: 32 hex digits of the content's sha256."""
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def with_line_ends(text: str | None, lines: str | None, content: str) -> str | None:
    """`text` with the line endings that `lines` of `content` have there.

    `lines` are as `lines_of` gives them, joined by newlines; without any, `text` stays as it is.
    """
    if text is None or lines is None or ("\r" not in content and "\r" not in text):
        return text
    crlf = all(f"{line}\r\n" in content for line in lines.split("\n"))
    return text.replace("\r\n", "\n").replace("\n", "\r\n" if crlf else "\n")


def code_key(line: str) -> str:
    """One line of code without any whitespace; equal keys mean equal up to layout."""
    return "".join(line.split())


def quote_key(quote: str | None) -> str:
    """A quote without whitespace, fit for comparing and hashing; empty when there is none."""
    return code_key(quote or "")


def count_words(text: str) -> Counter[str]:
    """How often each word of a text is in it, without regard to case."""
    return Counter(_WORD.findall(text.lower()))


def shared_words(first: Counter[str], second: Counter[str]) -> float:
    """Dice coefficient of two texts' words, 0 to 1; symmetric. Two empty texts have nothing in common: 0."""
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 0.0
