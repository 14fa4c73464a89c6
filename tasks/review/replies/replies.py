"""
A reply's text -> comments or verdicts. Never raises anything but ReplyError, whatever the text.

Reading is a ladder, `mode` is the rung that held: schema, json, repaired (tasks/review/replies/json_recovery.py).
Items are judged one by one, so a bad one costs itself and not the reply; but a reply whose items
are all bad is an error, because "reviewed, nothing found" must never come from a broken answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tasks.core.errors import ReplyError
from tasks.core.text_safety import storable
from tasks.review.replies.contract import (
    COMMENT_FIELDS,
    COMMENT_NAMES,
    VERDICT_FIELDS,
    VERDICT_NAMES,
    RawComment,
    RawVerdict,
)
from tasks.review.replies.item_lists import Shape
from tasks.review.replies.items import read_comment, read_verdict
from tasks.review.replies.json_recovery import ParseMode, ReplyItems, find_items

__all__ = ["ParsedComments", "ParsedVerdicts", "parse_comments", "parse_verdicts"]

_MAX_ITEMS = 50
"""Items read of one reply; the prompt asks for ten comments at most."""
_MIN_PREFIX = 6
"""Characters of a comment_id that may stand for all of it."""
_QUOTES = "\"'`[]()#"
_SNIPPET = 400

_ENDED_BY = {"length": "truncated", "content_filter": "content_filter"}


_COMMENTS = Shape(
    key="comments",
    aliases=("issues", "findings", "review_comments", "reviews", "results", "problems", "review"),
    asked=COMMENT_FIELDS,
    fields=frozenset(COMMENT_NAMES).union(*COMMENT_NAMES.values()),
    group_fields=("path", *COMMENT_NAMES["path"]),
)
_VERDICTS = Shape(
    key="verdicts",
    aliases=("results", "reviews", "judgements", "judgments", "decisions", "comments"),
    asked=VERDICT_FIELDS,
    fields=frozenset(VERDICT_NAMES).union(*VERDICT_NAMES.values()),
    id_field="comment_id",
)


@dataclass(frozen=True, slots=True)
class ParsedComments:
    """The comments of a check's reply."""

    items: tuple[RawComment, ...]
    mode: ParseMode
    dropped: int
    """Items left out; `notes` says why."""
    notes: Mapping[str, int]
    """What was dropped, clamped, cut or unknown, with counts: "dropped:no_message", ..."""
    truncated: bool
    """The reply was cut off: there may have been more."""


@dataclass(frozen=True, slots=True)
class ParsedVerdicts:
    """The verdicts of a review's reply."""

    items: Mapping[str, RawVerdict]
    """By comment_id; each one was asked for."""
    missing: tuple[str, ...]
    """Asked for and not answered, in the order of the question."""
    mode: ParseMode
    dropped: int
    notes: Mapping[str, int]
    truncated: bool


def parse_comments(text: str, *, finish_reason: str | None) -> ParsedComments:
    """Read a check's reply.

    Raises:
        ReplyError: empty_reply, unparseable, wrong_shape, no_usable_item; truncated or
            content_filter when that is why. Its `snippet` has the start of the text.
    """
    notes: Counter[str] = Counter()
    try:
        found = _items(text, _COMMENTS, notes)
        read = [read_comment(item, notes) for item in found.items]
        items = tuple(item for item in read if item is not None)
        _refuse_if_all_bad(found.items, items, notes)
    except ReplyError as error:
        raise _explained(error, text, finish_reason) from None
    return ParsedComments(items, found.mode, _dropped(notes), dict(notes), found.cut)


def parse_verdicts(
    text: str, names: Mapping[str, str], *, finish_reason: str | None
) -> ParsedVerdicts:
    """Read a review's reply on the comments `names`: the name in the question -> comment_id.

    Raises what `parse_comments` raises.
    """
    notes: Counter[str] = Counter()
    items: dict[str, RawVerdict] = {}
    try:
        found = _items(text, _VERDICTS, notes)
        for item in found.items:
            verdict = read_verdict(item, notes)
            if verdict is not None:
                _file(_resolved(verdict, names, notes), items, notes)
        _refuse_if_all_bad(found.items, items, notes)
    except ReplyError as error:
        raise _explained(error, text, finish_reason) from None
    missing = tuple(one for one in names.values() if one not in items)
    return ParsedVerdicts(items, missing, found.mode, _dropped(notes), dict(notes), found.cut)


def _items(text: str, shape: Shape, notes: Counter[str]) -> ReplyItems:
    found = find_items(text, shape)
    if found.mode == "schema" and not all(map(shape.is_as_asked, found.items)):
        found = found._replace(mode="json")
    if len(found.items) > _MAX_ITEMS:
        notes["dropped:too_many"] += len(found.items) - _MAX_ITEMS
    if found.left_out:
        notes["dropped:taken_back"] += found.left_out
    return found._replace(items=found.items[:_MAX_ITEMS])


def _refuse_if_all_bad(
    given: Iterable[object], items: Iterable[object], notes: Counter[str]
) -> None:
    if given and not items:
        reasons = ", ".join(sorted(name for name in notes if name.startswith("dropped:")))
        msg = f"no item of the reply can be used ({reasons})"
        raise ReplyError(msg, code="no_usable_item")


def _dropped(notes: Mapping[str, int]) -> int:
    return sum(count for name, count in notes.items() if name.startswith("dropped:"))


def _explained(error: ReplyError, text: str, finish_reason: str | None) -> ReplyError:
    code = _ENDED_BY.get(finish_reason or "", error.code)
    return ReplyError(str(error), code=code, snippet=storable(text[:_SNIPPET]))


def _file(verdict: RawVerdict | None, items: dict[str, RawVerdict], notes: Counter[str]) -> None:
    if verdict is None:
        notes["dropped:unknown_id"] += 1
    elif verdict.comment_id in items:  # the first one was written with the list still in mind
        notes["dropped:repeated_id"] += 1
    else:
        items[verdict.comment_id] = verdict


def _resolved(
    verdict: RawVerdict, names: Mapping[str, str], notes: Counter[str]
) -> RawVerdict | None:
    comment_id = _known(verdict.comment_id, names)
    if comment_id is None:
        return None
    other = _known(verdict.duplicate_of, names) if verdict.duplicate_of else None
    if verdict.duplicate_of and other in (None, comment_id):
        notes["unknown:duplicate_of"] += 1
        other = None
    return replace(verdict, comment_id=comment_id, duplicate_of=other)


def _known(written: str, names: Mapping[str, str]) -> str | None:
    """The id that was meant: by its name, itself, or the only one that starts with it."""
    written = written.strip().strip(_QUOTES).lower()
    if written in names:
        return names[written]
    enough = len(written) >= _MIN_PREFIX
    matches = [
        one for one in names.values() if one == written or (enough and one.startswith(written))
    ]
    return matches[0] if len(matches) == 1 else None
