from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import RowError
from tasks.load.rows import content_id, read_input
from tasks.outputs.stored import stored_input

CODES = {
    "not_an_object",
    "no_content",
    "content_not_text",
    "empty_content",
    "bad_id",
    "bad_kind",
    "wrong_type",
    "bad_expected",
    "not_json",
}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.sampled_from("a\0\ud800"))
    | st.binary(max_size=8)
    | st.decimals()
    | st.datetimes()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["input_id", "content", "input_code", "kind", "path", "title", "expected", "other"]
)


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        (None, "not_an_object", "null"),
        ([1], "not_an_object", "a list"),
        ("text", "not_an_object", "text"),
        ({}, "no_content", "fields here: none"),
        ({"code": "x", "id": 1}, "no_content", "fields here: 'code', 'id'"),
        ({"content": None}, "empty_content", "the field content is there and empty"),
        ({"input_code": float("nan")}, "empty_content", "the field input_code is there and empty"),
        ({"content": 7}, "content_not_text", "a int"),
        ({"content": b"\xff"}, "content_not_text", "a bytes"),
        ({"content": " \n\t"}, "empty_content", "empty"),
        ({"content": "a\0b"}, "content_not_text", "NUL"),
        ({"content": "a\ud800b"}, "content_not_text", "lone surrogate"),
        ({"content": "x", "input_id": 1.5}, "bad_id", "a float"),
        ({"content": "x", "input_id": float("inf")}, "bad_id", "a float"),
        ({"content": "x", "input_id": 1e300}, "bad_id", "a float"),
        ({"content": "x", "input_id": True}, "bad_id", "true/false"),
        ({"content": "x", "input_id": {"a": 1}}, "bad_id", "an object"),
        ({"content": "x", "input_id": "a" * 513}, "bad_id", "512"),
        ({"content": "x", "input_id": 10**6000}, "bad_id", "512"),
        ({"content": "x", "input_id": "\ud800"}, "bad_id", "Unicode"),
        ({"content": "x", "kind": "patch"}, "bad_kind", "snippet, diff"),
        ({"content": "x", "kind": deep(900)}, "bad_kind", "snippet, diff"),
        ({"content": "x", "path": 3}, "wrong_type", "path"),
        ({"content": "x", "title": "\0"}, "wrong_type", "title"),
        ({"content": "x", "expected": "[1"}, "bad_expected", "JSON"),
        ({"content": "x", "expected": {}}, "bad_expected", "known clean"),
        ({"content": "x", "expected": [1]}, "bad_expected", "an object"),
        ({"content": "x", "expected": [{"start_line": 0}]}, "bad_expected", "from 1 on"),
        ({"content": "x", "expected": [{"start_line": 2**40}]}, "bad_expected", "from 1 on"),
        ({"content": "x", "expected": [{"start_line": True}]}, "bad_expected", "from 1 on"),
        (
            {"content": "x", "expected": [{"start_line": 3, "end_line": 2}]},
            "bad_expected",
            "before",
        ),
        ({"content": "x", "expected": [{"category": "bugs"}]}, "bad_expected", "category"),
        ({"content": "x", "expected": [{"message": "\0"}]}, "bad_expected", "message"),
        ({"content": "x", "note": "\ud800"}, "not_json", "Unicode"),
        ({"content": "x", "\ud800": 1}, "not_json", "Unicode"),
        ({"content": "x", "note": deep(200)}, "not_json", "deeper"),
        ({"content": "x", "note": 10**6000}, "not_json", "digits"),
    ],
)
def test_each_mistake_has_its_reason(row: Any, code: str, said: str) -> None:
    """The code is stable, the message says what was found and what belongs there."""
    with pytest.raises(RowError) as caught:
        read_input(row)
    assert caught.value.code == code
    assert said in str(caught.value)


@given(VALUES | st.dictionaries(NAMES, VALUES, max_size=8))
def test_any_value_is_an_input_or_a_row_error(row: Any) -> None:
    """No other error; what is accepted reads the same after it was stored."""
    try:
        item = read_input(row)
    except RowError as error:
        reason = error.code
    else:
        assert stored_input(orjson.dumps(item)) == item
        return
    assert reason in CODES


@pytest.mark.parametrize(
    ("given_id", "kept"),
    [
        ("a/b c", "a/b c"),
        (7, "7"),
        (0, "0"),
        (-3, "-3"),
        (7.0, "7"),
        (np.int64(7), "7"),
        (np.float64(7), "7"),
        (2**70, str(2**70)),
        ("7.0", "7.0"),
        (None, content_id("x")),
        ("", content_id("x")),
        (float("nan"), content_id("x")),
    ],
)
def test_ids(given_id: Any, kept: str) -> None:
    """Text and whole numbers are ids, however pandas wrote them; without one the content decides."""
    assert read_input({"content": "x", "input_id": given_id}).input_id == kept


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n", "diff"),
        ("--- x\n+++ y\n@@ -1 +1 @@\n-a\n+b\n", "diff"),
        ("From 1234\n\nSubject\ndiff --git a/x b/x\n@@ -1 +1 @@\n-a\n+b\n", "diff"),
        ("@@ -1 +1 @@\n-a\n+b\n", "diff"),
        ("--- just yaml\na: 1\n", "snippet"),
        ("x = '@@ -1 +1 @@'", "snippet"),
    ],
)
def test_kind_is_guessed_from_the_content(content: str, kind: str) -> None:
    """Only text that begins as a diff and has a hunk is one."""
    assert read_input({"content": content}).kind == kind


def test_code_may_come_as_input_code() -> None:
    """Also beside an empty content column."""
    assert read_input({"input_code": "x"}).content == "x"
    assert read_input({"input_code": "x", "content": None}).content == "x"


def test_labels() -> None:
    """Not labelled, known clean and labelled are three things; CSV writes the list as JSON."""
    assert read_input({"content": "x"}).expected is None
    assert read_input({"content": "x", "expected": float("nan")}).expected is None
    assert read_input({"content": "x", "expected": []}).expected == ()
    assert read_input({"content": "x", "expected": "[]"}).expected == ()
    one = read_input({"content": "x", "expected": '[{"start_line": 2.0, "side": null}]'}).expected
    assert one
    assert (one[0].start_line, one[0].end_line, one[0].side) == (2, 2, "right")


def test_further_columns_become_json() -> None:
    """What JSON has stays as it came, the rest becomes text."""
    extra = read_input(
        {
            "content": "x",
            "n": 2**63,
            "small": -(2**63),
            "when": dt.date(2026, 11, 24),
            "price": Decimal("1.50"),
            "gap": float("nan"),
            "raw": b"text",
            "blob": b"\xff",
            "pair": (1, {"a": None}),
            "array": np.int32(4),
        }
    ).extra
    assert extra == {
        "n": str(2**63),
        "small": -(2**63),
        "when": "2026-11-24",
        "price": "1.50",
        "gap": None,
        "raw": "text",
        "blob": "/w==",
        "pair": [1, {"a": None}],
        "array": "4",
    }
