"""
The items of a reply, by the first rung of the ladder that reads it.

    schema     the text is the object that was asked for
    json       it is in there: after <think>, in a fence, in prose, as a bare list, under another name
    repaired   whole items of a list that is broken or cut off; the unfinished last one is left out

Nothing is made up: an item is what stands between its braces, or it is not there. Repair libraries
were tried and set aside for that reason: they finish a half item, and read prose as an empty list,
which would pass as "reviewed, nothing found". Work grows with the length of the text, not faster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal, NamedTuple

import orjson

from tasks.core.errors import ReplyError
from tasks.core.text_safety import storable
from tasks.review.replies.answers import Answer, answers
from tasks.review.replies.json_repair import mended

__all__ = ["Found", "Mode", "Shape", "find_items"]

Mode = Literal["schema", "json", "repaired"]

_BETWEEN = re.compile(r"[\s,]*+")
_STRICT = json.JSONDecoder()
_LENIENT = json.JSONDecoder(strict=False)  # takes line breaks inside strings
_LIKELY, _SURE = 3, 5
"""What makes an item one of the contract's: its own names count 2, those it may come under 1."""
_MAX_STARTS = 32
"""Places to try in one text: a hostile one could offer millions."""


@dataclass(frozen=True)
class Shape:
    """What to look for."""

    key: str
    """Name of the list in the contract."""
    aliases: tuple[str, ...]
    """Names that models give it instead."""
    asked: frozenset[str]
    """The fields of an item, in the contract."""
    fields: frozenset[str]
    """Names that they may come under."""
    id_field: str | None = None
    """Set: the list may also come as an object from this field's value to the item."""

    @cached_property
    def named(self) -> tuple[re.Pattern[str], ...]:
        """The list under its own name, then under another one."""
        return _list_of((self.key,)), _list_of(self.aliases)

    @cached_property
    def unnamed(self) -> re.Pattern[str]:
        """A list of items without a name."""
        return re.compile(rf"(?=\[\s*+{self._item})")

    @cached_property
    def single(self) -> re.Pattern[str]:
        """An item by itself."""
        return re.compile(rf"(?={self._item})")

    @property
    def _item(self) -> str:
        return rf'\{{\s*+"(?:{"|".join(map(re.escape, sorted(self.fields)))})"\s*+:'


class Found(NamedTuple):
    """Items as they came, and how."""

    items: list[Any]
    mode: Mode
    cut: bool
    """The list does not end: there may have been more."""


def find_items(text: str, shape: Shape) -> Found:
    """Read a reply.

    Raises:
        ReplyError: empty_reply, unparseable (no JSON in it), wrong_shape (JSON of another form),
            truncated (cut off before the first item was whole).
    """
    whole = _loads(text)
    if isinstance(whole, dict) and isinstance(whole.get(shape.key), list):
        return Found(whole[shape.key], "schema", cut=False)
    text = storable(whole if isinstance(whole, str) else text)  # some models quote their JSON
    places = [*answers(text)]
    if not places:
        msg = "the reply is empty: ask again, or raise max_tokens if the model thinks at length"
        raise ReplyError(msg, code="empty_reply")
    found = max(
        (find for place in places for find in _in_answer(place, shape)), key=_worth, default=None
    )
    if found is None:
        raise _not_found(places, shape)
    if found.cut and not found.items:
        msg = "the reply ends before its first item is whole: raise max_tokens or split the input"
        raise ReplyError(msg, code="truncated")
    return found


def _loads(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def _not_found(places: Iterable[Answer], shape: Shape) -> ReplyError:
    if any(place.alone for place in places):
        return ReplyError(f'the JSON has no list "{shape.key}"', code="wrong_shape")
    return ReplyError(f'no JSON object with a list "{shape.key}" in it', code="unparseable")


def _worth(found: Found) -> tuple[int, bool]:
    # The longest list wins: a draft or an example of the form may stand before the answer. Of two
    # empty ones the one that was cut off, which is an error and not an empty review.
    return len(found.items), found.cut


def _in_answer(answer: Answer, shape: Shape) -> Iterator[Found]:
    if answer.text == "[]":
        yield Found([], "json", cut=False)
    for pattern, least in zip((*shape.named, shape.unnamed), (0, 0, _LIKELY), strict=True):
        lists = [*_lists(answer.text, pattern, shape)]
        meant = [found for found in lists if _meant(found, least if answer.alone else _SURE, shape)]
        yield from meant
        if meant:
            return
    single = _joined([*_lists(answer.text, shape.single, shape)])
    if single is not None and _meant(single, _SURE, shape):
        yield single


def _meant(found: Found, least: int, shape: Shape) -> bool:
    """Whether this is the answer, and not an error's body or JSON in code that the reply quotes."""
    if found.cut and not found.items:
        return True  # there is nothing to mistake for a comment, and it must not pass for none
    known = (_names(item, shape) for item in found.items if isinstance(item, dict))
    return max(known, default=0) >= least


def _names(item: dict[str, Any], shape: Shape) -> int:
    return len(item.keys() & shape.fields) + len(item.keys() & shape.asked)


def _joined(parts: list[Found]) -> Found | None:
    """Single items, one after the other, as one list."""
    if not parts:
        return None
    items = [item for part in parts for item in part.items]
    mode: Mode = "json" if all(part.mode == "json" for part in parts) else "repaired"
    return Found(items, mode, cut=any(part.cut for part in parts))


def _lists(text: str, pattern: re.Pattern[str], shape: Shape) -> Iterator[Found]:
    end = 0
    for match in islice(pattern.finditer(text), _MAX_STARTS):
        if match.end() < end:  # inside what was just read
            continue
        found, end = _read(text, match.end(), shape)
        if found is not None:
            yield found


def _read(text: str, start: int, shape: Shape) -> tuple[Found | None, int]:
    try:
        value, end = _STRICT.raw_decode(text, start)
    except (ValueError, RecursionError):
        return _scan(text, start + (text[start] == "["), shape)
    items = _as_items(value, shape)
    return (None if items is None else Found(items, "json", cut=False)), end


def _as_items(value: Any, shape: Shape) -> list[Any] | None:
    if isinstance(value, list):
        return value if not value or any(isinstance(item, dict) for item in value) else None
    if shape.id_field and value and all(isinstance(item, dict) for item in value.values()):
        return [{shape.id_field: name, **item} for name, item in value.items()]
    return [value] if value.keys() & shape.fields else None


def _scan(text: str, at: int, shape: Shape) -> tuple[Found, int]:
    """Item by item, to the end of the list or to where nothing more can be read."""
    items: list[Any] = []
    while text.startswith("{", at := _skip(text, at)):
        end = 0
        try:
            item, end = _LENIENT.raw_decode(text, at)
        except (ValueError, RecursionError):
            item, end = mended(text, at, shape.fields)
        if not end:
            break
        items.append(item)
        at = end
    return Found(items, "repaired", cut=not text.startswith("]", at)), at


def _skip(text: str, at: int) -> int:
    match = _BETWEEN.match(text, at)
    return match.end() if match else at


def _list_of(names: tuple[str, ...]) -> re.Pattern[str]:
    words = "|".join(map(re.escape, names))
    return re.compile(rf'"(?:{words})"\s*+:\s*+(?=[\[{{])')
