"""Whatever a server sends: ReplyError or a result that every store can hold, in bounded work."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple
from typing import TypeVar

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.errors import ReplyError
from tasks.review.replies.contract import COMMENT_NAMES
from tasks.review.replies.replies import parse_comments, parse_verdicts

T = TypeVar("T")

SIZE = 500_000
PIECES = [
    '{"comments": [',
    '{"verdicts": [',
    '"issues": [',
    '{"path": "a", "message": "b"}',
    '{"comment_id": "aaaaaa", "decision": "rejected", "score": 2}',
    '{"path": "a", "message": "use "x" here", "title": "t"}',
    '"message": ',
    '"existing_code": "if (a) { b[0] }"',
    "```json\n",
    "```",
    "<think>",
    "</think>",
    "]}",
    "}",
    "]",
    "[",
    "{",
    ",",
    ":",
    '"',
    "\\",
    '\\"',
    "\n",
    "NaN",
    "-1e999",
    "9" * 5_000,
    "null",
    "\x00",
    "\ud800",
    "\\ud800",
    "\\u0000",
]
BOMBS = [
    "[" * SIZE,
    "{" * SIZE,
    '"' * SIZE,
    "\\" * SIZE,
    "}" * SIZE,
    " " * SIZE,
    '{"a":"' + '\\"' * (SIZE // 2),
    '{"comments":[' * (SIZE // 13),
    '{"comments":[{"path":' * (SIZE // 21),
    '{"comments":[{"path":"' + "}]" * (SIZE // 2),
    '{"comments":[{"path":"a"x},' * (SIZE // 27),
    '{"comments":[{"path":"a"x}' + " " * SIZE,
    '{"comments":[{"path":"\\' + '\\"' * (SIZE // 2) + '"}]}',
    '[{"path":[' * (SIZE // 10),
    "</think>" * (SIZE // 8),
    "<think>" * (SIZE // 7),
    "```{" * (SIZE // 4),
    '```\n{"comments":[' * (SIZE // 17),
    '"comments":' + " " * SIZE + "[",
    '{"comments":[{"message":"' + "m" * SIZE + '"}]}',
    '{"comments":[' + '{"message":"m"},' * (SIZE // 16) + "]}",
    '{"comments":[{"message":' + "[" * SIZE,
    '{"comments":[{"start_line":' + "9" * SIZE + "}]}",
]


def _outcome(parse: Callable[[], T]) -> T | ReplyError:
    try:
        return parse()
    except ReplyError as error:
        return error


def _fits_everywhere(text: str) -> None:
    """Parse as both; what comes out fits UTF-8 JSON and Arrow."""
    for parse in (
        lambda: parse_comments(text, finish_reason="stop").items,
        lambda: [*parse_verdicts(text, {"c1": "aaaaaa"}, finish_reason="length").items.values()],
    ):
        found = _outcome(parse)
        if isinstance(found, ReplyError):
            assert len(found.snippet) <= 400
            orjson.dumps([found.snippet, str(found), found.code])
            continue
        for item in found:
            values = astuple(item)
            orjson.dumps(values)
            pa.array([value for value in values if isinstance(value, str)], pa.string())
            pa.array([value for value in values if isinstance(value, int)], pa.int32())


@pytest.mark.parametrize("text", BOMBS, ids=lambda text: str(text)[:24])
def test_bombs(text: str) -> None:
    """Half a megabyte of one trick: deep, unclosed, repeated. Each ends, as an error or as items.

    Work that grows with the square of it would take minutes.
    """
    _fits_everywhere(text)


@settings(max_examples=400)
@given(parts=st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=25))
def test_any_mixture(parts: list[str]) -> None:
    """Nothing but ReplyError is raised for any arrangement of what replies are made of."""
    _fits_everywhere("".join(parts))


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.integers()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
wild_items = st.dictionaries(
    st.sampled_from([*COMMENT_NAMES, "comment_id", "decision", "score", "duplicate_of"]),
    st.one_of(json_values, st.sampled_from(["aaaaaa", "confirmed", "high", 10**40, -1])),
)


@given(items=st.lists(wild_items, max_size=4), key=st.sampled_from(["comments", "verdicts"]))
def test_any_json_under_the_right_name(items: list[dict[str, object]], key: str) -> None:
    """Fields may hold any JSON at all."""
    _fits_everywhere(json.dumps({key: items}))


@given(items=st.lists(st.fixed_dictionaries({"message": st.text(min_size=1)}), max_size=4))
def test_every_stated_item_is_accounted_for(items: list[dict[str, str]]) -> None:
    """Items and dropped items add up to what the reply lists."""
    text = json.dumps({"comments": items})
    found = _outcome(lambda: parse_comments(text, finish_reason="stop"))
    if isinstance(found, ReplyError):
        assert found.code == "no_usable_item"
        assert not any(item["message"].strip() for item in items)
    else:
        assert len(found.items) + found.dropped == len(items)


@given(
    messages=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=4),
    cut=st.integers(min_value=0, max_value=200),
)
def test_repair_invents_nothing(messages: list[str], cut: int) -> None:
    """Of a reply cut anywhere, what is read is a beginning of what was written."""
    comments = [
        {"path": "a", "title": f"t{at}", "message": "m" + m} for at, m in enumerate(messages)
    ]
    text = json.dumps({"comments": comments})
    whole = parse_comments(text, finish_reason="stop").items
    try:
        part = parse_comments(text[: max(0, len(text) - cut)], finish_reason="length").items
    except ReplyError:
        return
    assert part == whole[: len(part)]
    assert len(part) < len(whole) or cut <= 2
