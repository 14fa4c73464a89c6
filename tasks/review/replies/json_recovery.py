"""
The items of a reply, by the first rung of the ladder that reads it.

    schema     the text is the object that was asked for
    json       it is in there: after thoughts, in fences, in prose, in several lists, under other names
    repaired   JSON with comments, Python's words or single quotes; whole items of a list that is
               broken or cut off, whose unfinished last one is left out

Lists that stand beside each other are one answer. Where prose between two takes the first one back
("on a second look", "final answer"), the last one counts and the others are counted as left out.

Nothing is made up: an item is what stands between its braces, or it is not there. Repair libraries
were tried and set aside for that reason: they finish a half item, and read prose as an empty list,
which would pass as "reviewed, nothing found". Work grows with the length of the text, not faster.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import orjson

from tasks.core.errors import ReplyError
from tasks.core.text_safety import storable
from tasks.review.replies.item_lists import LIKELY, SURE, ItemLists, Shape, item_lists
from tasks.review.replies.json_repair import as_json, repaired_item
from tasks.review.replies.thoughts import without_thoughts

__all__ = ["ParseMode", "ReplyItems", "find_items"]

ParseMode = Literal["schema", "json", "repaired"]

_BETWEEN = re.compile(r"[\s,]*+")
_OPENING = re.compile(r"[{\[]")
_LIKE_JSON = re.compile(r'[{\[]\s*+(?:["{\[]|\Z)')
_FENCE = r"```[\w+-]*+\s*+"
_ALONE = re.compile(rf"(?:{_FENCE}|<\|?\w*tool_?calls?\w*\|?>\s*+|\[TOOL_CALLS\]\s*+)\Z")
_CLOSES = re.compile(r"\s*+(?:```|\Z)")
_TAKES_BACK = re.compile(
    r"\b(?:final|revis|correct(?:ed|ion)|updat|instead|actual|wait\b|second (?:look|thought)"
    r"|reconsider|look(?:ing)? again|re-?check|reflection|retract|withdr|ignore|disregard|scrap"
    r"|answer|draft|no[,.:;]|example|false positive)",
    re.IGNORECASE,
)
_JSON_ONLY = re.compile(
    r'(?:[\s,:{}\[\]]++|"(?:[^"\\\n]|\\.)*+"|-?\d[\d.eE+-]*+|null|true|false)*+'
)
_MARKS = re.compile(rf"{_FENCE}|</?\w*tool_?calls?\w*>")
_STRICT = json.JSONDecoder()
_LENIENT = json.JSONDecoder(strict=False)  # takes line breaks inside strings
_MAX_STARTS = 32
"""Places to try in one text: a hostile one could offer millions."""
_AROUND = 40
"""Characters before a value that may say that it stands alone."""


class ReplyItems(NamedTuple):
    """Items as they came, and how."""

    items: list[Any]
    mode: ParseMode
    cut: bool
    """The list does not end: there may have been more."""
    left_out: int = 0
    """Items of lists that the reply takes back or sets aside."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What one JSON value of a text holds, or one list of a broken value."""

    start: int
    end: int
    found: ItemLists
    mode: ParseMode = "json"
    cut: bool = False
    unfinished: bool = False
    """The text ends within an item."""

    @property
    def items(self) -> list[Any]:
        return self.found.items or self.found.singles

    @property
    def single(self) -> bool:
        return bool(self.found.singles) and not self.found.items


def find_items(text: str, shape: Shape) -> ReplyItems:
    """The items of a reply.

    Raises:
        ReplyError: empty_reply, unparseable (no JSON in it), wrong_shape (JSON of another form),
            truncated (cut off before the first item was whole).
    """
    whole = _loads(text)
    asked = whole.get(shape.key) if isinstance(whole, dict) else None
    if isinstance(asked, list) and _is_to_the_letter(whole, asked, shape):
        return ReplyItems(asked, "schema", cut=False)
    if isinstance(asked, list) and (found := item_lists(whole, shape)).items == asked:
        return ReplyItems(asked, "schema", cut=False, left_out=found.set_aside)
    readings = without_thoughts(storable(whole if isinstance(whole, str) else text))
    if isinstance(whole, list | dict):
        readings = (text.strip(),)  # a tag in it is in a string
    if not readings:
        msg = "the reply is empty: ask again, or raise max_tokens if the model thinks at length"
        raise ReplyError(msg, code="empty_reply")
    read = _likeliest(readings, shape)
    if read is None:
        raise _not_found(readings, shape)
    if read.cut and not read.items:
        msg = "the reply ends before its first item is whole: raise max_tokens or split the input"
        raise ReplyError(msg, code="truncated")
    return read


def _is_to_the_letter(whole: Sized, asked: list[Any], shape: Shape) -> bool:
    """Whether a reply is nothing but its list of flat items, in which nothing else can be found."""
    return len(whole) == 1 and all(
        shape.is_as_asked(item)
        and not any(isinstance(value, list | dict) for value in item.values())
        for item in asked
    )


def _loads(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def _not_found(readings: Sequence[str], shape: Shape) -> ReplyError:
    if any(_stands_alone(one, m.start()) for one in readings for m in _some(_OPENING, one)):
        return ReplyError(f'the JSON has no list "{shape.key}"', code="wrong_shape")
    return ReplyError(f'no JSON object with a list "{shape.key}" in it', code="unparseable")


def _some(pattern: re.Pattern[str], text: str, at: int = 0) -> Iterator[re.Match[str]]:
    return islice(pattern.finditer(text, at), _MAX_STARTS)


def _likeliest(readings: Sequence[str], shape: Shape) -> ReplyItems | None:
    """The first reading with a list; else the one that says most."""
    found: list[ReplyItems] = []
    for text in readings:
        items, listed = _read(text, shape)
        if items is not None:
            if listed:
                return items
            found.append(items)
    return max(found, key=lambda one: (len(one.items), one.cut), default=None)


def _read(text: str, shape: Shape) -> tuple[ReplyItems | None, bool]:
    """The items of one text and whether they stood in a list; mended where that reads more."""
    found, listed = _answer(text, [*_parts(text, shape)])
    if found is not None and found.mode == "json" and not found.cut:
        return found, listed
    mended = as_json(text)
    if mended == text:
        return found, listed
    other, other_listed = _answer(mended, [*_parts(mended, shape)])
    if other is None or (found is not None and _rank(other) <= _rank(found)):
        return found, listed
    return other._replace(mode="repaired"), other_listed


def _rank(found: ReplyItems) -> tuple[int, bool, bool]:
    objects = sum(isinstance(item, dict) for item in found.items)
    return objects, found.mode == "json", not found.cut


def _answer(text: str, parts: list[_Part]) -> tuple[ReplyItems | None, bool]:
    """The last run of lists that nothing takes back, and whether it is one of lists."""
    whole = [part for part in parts if part.items or not part.cut or part.unfinished]
    runs = _runs(text, whole or parts)
    chosen = [run for run in runs if not all(part.single for part in run)] or runs
    if not chosen:
        return None, False
    run = chosen[-1]
    listed = not all(part.single for part in run)
    items = _joined([part.items for part in run if not (listed and part.single)])
    others = (item for part in parts for item in (*part.found.items, *part.found.singles))
    left_out = sum(item not in items for item in islice(others, len(items) + 100))
    return ReplyItems(
        items,
        "json" if all(part.mode == "json" for part in run) else "repaired",
        cut=any(part.cut for part in run),
        left_out=left_out + sum(part.found.set_aside for part in parts),
    ), listed


def _runs(text: str, parts: Sequence[_Part]) -> list[list[_Part]]:
    runs: list[list[_Part]] = []
    for part in parts:
        if runs and not _takes_back(text[runs[-1][-1].end : part.start]):
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


def _takes_back(between: str) -> bool:
    between = _MARKS.sub("", between)
    return not _JSON_ONLY.fullmatch(between) and _TAKES_BACK.search(between) is not None


def _joined(lists: Sequence[list[Any]]) -> list[Any]:
    """The lists as one; what a later one repeats word for word is in it once."""
    items = list(lists[0])
    for more in lists[1:]:
        known = items[-_MAX_STARTS:]
        items += [item for item in more if item not in known]
    return items


def _parts(text: str, shape: Shape) -> Iterator[_Part]:
    """What holds items, in the order of the text."""
    at, seen = 0, False
    searched: set[bool] = set()  # to the end of the text, strictly or not: once each will do
    for _ in range(_MAX_STARTS):
        opening = _OPENING.search(text, at)
        if opening is None:
            return
        start = opening.start()
        value, at = _decode(text, start)
        alone = _stands_alone(text, start)
        found: list[_Part] = []
        if at:
            found = _whole(text, start, at, value, shape, seen=seen)
        elif not searched & {alone, True} and _LIKE_JSON.match(text, start):
            found = _broken(text, start, shape, alone=alone)
            at = max((part.end for part in found), default=0)
            searched.add(alone)
        at = max(at, start + 1)
        seen = seen or bool(found)
        yield from found
    if not searched:
        yield from _broken(text, at, shape, alone=False)


def _decode(text: str, start: int) -> tuple[Any, int]:
    """The value at `start` and where it ends; 0: it is broken."""
    for decoder in (_STRICT, _LENIENT):
        try:
            return decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
    return None, 0


def _stands_alone(text: str, start: int) -> bool:
    """Whether the value at `start` is the answer, rather than code which prose around it quotes."""
    return text.startswith(("{", "[")) or bool(_ALONE.search(text[max(0, start - _AROUND) : start]))


def _whole(text: str, start: int, end: int, value: Any, shape: Shape, *, seen: bool) -> list[_Part]:
    found = item_lists(value, shape)
    alone = _stands_alone(text, start)
    closes = _CLOSES.match(text, end) is not None
    if alone and closes and value == []:
        found.empty = True
    # In prose an empty list may be anything, but behind an earlier list it takes that one back.
    named = found.empty and isinstance(value, dict) and value.get(shape.key) == []
    least = 0 if alone or (seen and named and closes) else SURE
    if not found.known or shape.likeness_of(found.items or found.singles) < least:
        return []
    return [_Part(start, end, found)]


def _broken(text: str, start: int, shape: Shape, *, alone: bool) -> list[_Part]:
    """The lists of a value that is no JSON as a whole, or its items where they stand in none."""
    for pattern, least in ((shape.named, 0), (shape.unnamed, LIKELY)):
        lists = [*_lists(text, start, pattern, shape)]
        meant = [part for part in lists if _meant(part, least if alone else SURE, shape)]
        if meant:
            return meant
    singles = [*_lists(text, start, shape.single, shape)]
    items = [item for part in singles for item in part.items]
    if not items or shape.likeness_of(items) < SURE:
        return [part for part in singles if part.cut and not part.items][:1]
    return [
        _Part(part.start, part.end, ItemLists(singles=part.items), part.mode, part.cut)
        for part in singles
    ]


def _meant(part: _Part, least: int, shape: Shape) -> bool:
    """Whether this is the answer, and not an error's body or JSON in code that the reply quotes."""
    if part.cut and not part.items:
        return True  # there is nothing to mistake for a comment, and it must not pass for none
    return shape.likeness_of(part.items) >= least


def _lists(text: str, start: int, pattern: re.Pattern[str], shape: Shape) -> Iterator[_Part]:
    end = 0
    for match in _some(pattern, text, start):
        if match.end() < end:  # inside what was just read
            continue
        part = _list(text, match, shape)
        end = part.end
        if part.found.known or part.cut:
            yield part


def _list(text: str, match: re.Match[str], shape: Shape) -> _Part:
    start = match.end()
    name = shape.name(match[0].split('"')[1]) if match[0] else None
    try:
        value, end = _STRICT.raw_decode(text, start)
    except (ValueError, RecursionError):
        return _scan(text, match.start(), start + (text[start] == "["), shape)
    return _Part(match.start(), end, item_lists(value, shape, name))


def _scan(text: str, start: int, at: int, shape: Shape) -> _Part:
    """Item by item, to the end of the list or to where nothing more can be read."""
    items: list[Any] = []
    while text.startswith("{", at := _skip(text, at)):
        end = 0
        try:
            item, end = _LENIENT.raw_decode(text, at)
        except (ValueError, RecursionError):
            item, end = repaired_item(text, at, shape.fields)
        if not end:
            break
        items.append(item)
        at = end
    cut = not text.startswith("]", at)
    unfinished = cut and text[at : at + 1] in {"", "{"}
    return _Part(start, at, ItemLists(items=items, empty=not cut), "repaired", cut, unfinished)


def _skip(text: str, at: int) -> int:
    match = _BETWEEN.match(text, at)
    return match.end() if match else at
