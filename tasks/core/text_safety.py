"""Text made safe for stores, servers and terminals, for Markdown, and short enough for a table."""

from __future__ import annotations

import re

__all__ = [
    "ellipsize",
    "escape_markdown",
    "markdown_cell",
    "markdown_line",
    "storable",
    "visible",
    "visible_code",
    "visible_lines",
]

# NUL ends a C string; half a surrogate pair has no UTF-8 form, so JSON and Parquet refuse it.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# What moves a cursor, colours a terminal, ends a line or turns the direction of what follows it.
_INVISIBLE = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_UNSEEN = re.compile(f"(?![\t\n]){_INVISIBLE.pattern}")
_MARKUP = re.compile(r"[\\<>\[\]*#|~!`]|(?<![^\W_])_|_(?![^\W_])")
_LEADING = re.compile(r"^(\s*)([-+=]|\d+[.)])", re.MULTILINE)


def storable(text: str) -> str:
    """The text with each NUL and lone surrogate replaced by U+FFFD."""
    if text.isascii() and "\0" not in text:  # nearly all, and a look at each character takes longer
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def ellipsize(text: str, limit: int) -> str:
    """The text's first characters, at most `limit`, with an ellipsis where some were left out."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "\u2026"


def visible(text: str) -> str:
    r"""The text as one line; ends of lines, escapes and marks of direction are spelled as \x1b is."""
    return _INVISIBLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_code(text: str) -> str:
    """The text with its lines and tabs kept, and all else that cannot be seen spelled out."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_lines(text: str) -> str:
    """The text as `visible` has it, with lines kept and all but the first one indented: none passes for a line of ours."""
    return "\n    ".join(visible(line.removeprefix("    ")) for line in text.split("\n"))


def escape_markdown(text: str) -> str:
    """The text without any markup; its lines are kept."""
    escaped = _MARKUP.sub(lambda found: f"\\{found[0]}", text)
    return _LEADING.sub(lambda found: f"{found[1]}{found[2][:-1]}\\{found[2][-1]}", escaped)


def markdown_line(text: str) -> str:
    """One line of Markdown without any markup."""
    return escape_markdown(visible(" ".join(text.split())))


def markdown_cell(text: str) -> str:
    """The text without any markup for the cell of a table, where a dash or a number begins no list."""
    return _MARKUP.sub(lambda found: f"\\{found[0]}", visible(" ".join(text.split())))
