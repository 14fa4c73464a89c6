"""
Repair of JSON that models write by hand.

    as_json         a whole text: comments, Python's words and single quotes, commas too many
    repaired_item   one item that is broken inside: bare quotes, wrong escapes
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

__all__ = ["RepairedItem", "as_json", "repaired_item"]

_LENIENT = json.JSONDecoder(strict=False)
_ESCAPE_OR_QUOTE = re.compile(r'\\u[0-9a-fA-F]{4}|\\["\\/bfnrt]|["\\]')
_STRING_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)|,(?=\s*+[}\]])', re.DOTALL)
_FOREIGN = re.compile(
    r"""
    (?P<kept>"(?:[^"\\]|\\.)*+(?:"|\Z))
    | (?P<comment>//[^\n]*+|/\*.*?\*/)
    | (?P<comma>,(?=\s*+[}\]]))
    | \b(?P<word>None|True|False)\b
    | (?<![\w'])'(?P<quoted>(?:[^'\\]|\\.)*+)'(?=\s*+[,:}\]])
    """,
    re.DOTALL | re.VERBOSE,
)
_WORDS = {"None": "null", "True": "true", "False": "false"}
_HEX = re.compile(r"\\x([0-9a-fA-F]{2})")
_UNREADABLE = object()  # None is a value
_MAX_ENDS = 16
"""Braces to try as the end of one item."""


class RepairedItem(NamedTuple):
    """An item and where it ends; None for the item: it is whole but cannot be read."""

    item: dict[str, Any] | None
    end: int
    """0: it does not end."""


def as_json(text: str) -> str:
    """`text` from its first brace or bracket on with what is no JSON there replaced or left out.

    The text of double-quoted strings stays as it is.
    """
    opening = re.search(r"[{\[]", text)
    start = opening.start() if opening else len(text)
    return text[:start] + _FOREIGN.sub(_native, text[start:])


def _native(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind == "kept":
        return match[0]
    if kind == "word":
        return _WORDS[match["word"]]
    return f'"{_double_quoted(match["quoted"])}"' if kind == "quoted" else ""


def _double_quoted(inner: str) -> str:
    inner = _HEX.sub(r"\\u00\1", inner.replace("\\'", "'"))
    return _ESCAPE_OR_QUOTE.sub(_escaped, inner)


class _Patterns(NamedTuple):
    ends: re.Pattern[str]
    field: re.Pattern[str]


def repaired_item(text: str, start: int, fields: frozenset[str]) -> RepairedItem:
    """Read the item that starts at `start`, an opening brace, and has some of `fields`.

    Its end is the first brace with the next item or the end of the list behind it. Quotes inside a
    value are told from those around it by the names of the fields that follow.
    """
    patterns = _patterns(fields)
    ends = [match.end() for match in islice(patterns.ends.finditer(text, start), _MAX_ENDS)]
    for end in ends:  # a brace in quoted code may look like the item's
        item = _whole(text[start:end], patterns)
        if item is not None:
            return RepairedItem(item, end)
    return RepairedItem(None, ends[0] if ends else 0)


def _whole(body: str, patterns: _Patterns) -> dict[str, Any] | None:
    item = _decode(_STRING_OR_COMMA.sub(_without_comma, body))
    return item if isinstance(item, dict) else _by_field(body, patterns)


def _by_field(body: str, patterns: _Patterns) -> dict[str, Any] | None:
    matches = [*patterns.field.finditer(body)]
    if not matches or len({match[1] for match in matches}) < len(matches):
        return None  # a name twice: one of them is in quoted code, and nobody can tell which
    ends = [*(match.start() for match in matches[1:]), len(body) - 1]
    item = {m[1]: _value(body[m.end() : end]) for m, end in zip(matches, ends, strict=True)}
    return None if _UNREADABLE in item.values() else item


def _value(text: str) -> Any:
    text = text.strip().removesuffix(",").rstrip()
    value = _decode(text)
    if value is _UNREADABLE and len(text) > 1 and text[0] == text[-1] == '"':
        return _decode(f'"{_ESCAPE_OR_QUOTE.sub(_escaped, text[1:-1])}"')
    return value


def _escaped(match: re.Match[str]) -> str:
    return match[0] if len(match[0]) > 1 else "\\" + match[0]


def _without_comma(match: re.Match[str]) -> str:
    return "" if match[0] == "," else match[0]


def _decode(text: str) -> Any:
    try:
        return _LENIENT.decode(text)
    except (ValueError, RecursionError):
        return _UNREADABLE


@lru_cache(maxsize=8)
def _patterns(fields: frozenset[str]) -> _Patterns:
    names = "|".join(map(re.escape, sorted(fields)))
    follows = rf'\{{\s*+"(?:{names})"\s*+:|\]\s*+(?:[}},]|```|\Z)|\Z'
    return _Patterns(
        ends=re.compile(rf"\}}(?=\s*+,?+\s*+(?:{follows}))"),
        field=re.compile(rf'[{{,]\s*+"({names})"\s*+:'),
    )
