"""One row of SOURCE -> Input, or a RowError whose `code` goes to rejected.jsonl."""

from __future__ import annotations

import math
import reprlib
from decimal import Decimal
from numbers import Integral
from typing import Any, NoReturn, cast
from uuid import UUID

import orjson

from tasks.core.errors import RowError, SourceError
from tasks.core.records import CATEGORIES, KINDS, SEVERITIES, Expected, Input
from tasks.load.jsonable import jsonable
from tasks.review.inputs.diffs import looks_like_diff
from tasks.review.inputs.texts import content_id

__all__ = ["no_usable_row", "read_input"]

MAX_ID_LENGTH = 512
_MAX_FLOAT_ID = 2**53
"""From here on a float does not say which whole number was meant."""
_LISTED = 12
_TEXT_FIELDS = ("path", "language", "title", "description")
_HOLDS_CODE = {"content", "input_code"}
_KNOWN = {"input_id", "content", "input_code", "kind", "expected", *_TEXT_FIELDS}


def read_input(row: Any) -> Input:
    """Validate one row, or what a source has in the place of one.

    Raises:
        RowError: that one; or with code not_an_object, no_content, content_not_text, empty_content, bad_id,
            bad_kind, wrong_type, bad_expected or not_json.
    """
    if isinstance(row, RowError):
        raise row
    if not isinstance(row, dict):
        _refuse("not_an_object", f"a row is an object with fields, not {_kind(row)}")
    content = _content(row)
    kind = _given(row, "kind") or ("diff" if looks_like_diff(content) else "snippet")
    if kind not in KINDS:
        shown = reprlib.repr(kind) if isinstance(kind, str) else _kind(kind)
        _refuse("bad_kind", f"kind is {shown}; use one of {', '.join(KINDS)}")
    return Input(
        input_id=_input_id(_given(row, "input_id"), content),
        content=content,
        kind=cast("Any", kind),
        expected=_expected(_given(row, "expected")),
        extra=_extra(row),
        **{name: _optional_text(row, name) for name in _TEXT_FIELDS},
    )


def no_usable_row(source: str, rejected: int, first: str) -> SourceError:
    """The error for SOURCE without a usable row; `first` is what is wrong with the first of them."""
    found = f"; the first of {rejected:,}: {first}" if rejected else ": it is empty"
    return SourceError(f"{source} has no usable row{found}")


def _given(row: dict[str, Any], name: str) -> Any:
    """The field's value; None for a gap, which pandas writes as NaN."""
    value = row.get(name)
    return None if isinstance(value, float) and math.isnan(value) else value


def _content(row: dict[str, Any]) -> str:
    content = _given(row, "content")
    content = _given(row, "input_code") if content is None else content
    if content is None and not _HOLDS_CODE.isdisjoint(row):
        name = next(name for name in row if name in _HOLDS_CODE)
        _refuse("empty_content", f"the field {name} is there and empty")
    if content is None:
        names = ", ".join(reprlib.repr(name) for name in list(row)[:_LISTED]) or "none"
        _refuse(
            "no_content",
            f"the code belongs in the field content (or input_code); fields here: {names}",
        )
    if not isinstance(content, str):
        _refuse("content_not_text", f"content is {_kind(content)}, not text")
    if not content.strip():
        _refuse("empty_content", "content is empty")
    return _clean("content", content, "content_not_text")


def _clean(name: str, text: str, code: str) -> str:
    if "\0" in text:
        _refuse(code, f"{name} has a NUL character: it is binary, not text")
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse(code, f"{name} is not valid Unicode: save the source as UTF-8 (a lone surrogate?)")
    return text


def _input_id(value: Any, content: str) -> str:
    if value is None or value == "":
        return content_id(content)
    text = value if isinstance(value, str) else _number_id(value)
    if len(text) > MAX_ID_LENGTH:
        _refuse("bad_id", f"input_id is longer than {MAX_ID_LENGTH} characters")
    return _clean("input_id", text, "bad_id")


def _number_id(value: Any) -> str:
    if isinstance(value, UUID):
        return str(value)
    # A column of whole numbers with one gap becomes floats in pandas: 7.0 is the id 7.
    exact = isinstance(value, float) and abs(value) < _MAX_FLOAT_ID and value == int(value)
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < MAX_ID_LENGTH:
        exact = value == int(value)
    if isinstance(value, bool) or not (isinstance(value, Integral) or exact):
        _refuse("bad_id", f"input_id is {_kind(value)}; use text, a UUID or a whole number")
    if abs(int(value)) >= 10**MAX_ID_LENGTH:
        _refuse("bad_id", f"input_id is longer than {MAX_ID_LENGTH} characters")
    return str(int(value))


def _optional_text(row: dict[str, Any], name: str, code: str = "wrong_type") -> str | None:
    value = row.get(name)  # absent in most rows, so asked first: a run has a hundred thousand
    if value is None or value == "" or _given(row, name) is None:
        return None
    if not isinstance(value, str):
        _refuse(code, f"{name} is {_kind(value)}, not text")
    return _clean(name, value, code)


def _expected(value: Any) -> tuple[Expected, ...] | None:
    if isinstance(value, str):
        value = _parse_expected(value)
    if value is None:
        return None
    if not isinstance(value, list):
        _refuse("bad_expected", f"expected is {_kind(value)}; use a list, [] for known clean")
    return tuple(_one_expected(item) for item in value)


def _parse_expected(text: str) -> Any:
    # CSV carries the list as JSON text.
    try:
        return orjson.loads(text) if text.strip() else None
    except orjson.JSONDecodeError:
        _refuse("bad_expected", "expected is text that is not a JSON list")


def _one_expected(item: Any) -> Expected:
    if not isinstance(item, dict):
        _refuse("bad_expected", f"an expected defect is an object, not {_kind(item)}")
    start, end = _line(item, "start_line"), _line(item, "end_line")
    if start is not None and end is not None and end < start:
        _refuse("bad_expected", "expected: end_line is before start_line")
    return Expected(
        path=_optional_text(item, "path", "bad_expected"),
        start_line=start,
        end_line=end if end is not None else start,
        side=cast("Any", _choice(item, "side", ("right", "left")) or "right"),
        category=_choice(item, "category", CATEGORIES),
        severity=_choice(item, "severity", SEVERITIES),
        message=_optional_text(item, "message", "bad_expected"),
    )


def _line(item: dict[str, Any], name: str) -> int | None:
    value = _given(item, name)
    if isinstance(value, float) and value.is_integer():  # pandas turns gaps into floats
        value = int(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        _refuse("bad_expected", f"expected: {name} is a line number from 1 on")
    return value


def _choice(item: dict[str, Any], name: str, allowed: tuple[str, ...]) -> str | None:
    value = _given(item, name)
    if value is None:
        return None
    if value not in allowed:
        _refuse("bad_expected", f"expected: {name} is one of {', '.join(allowed)}")
    return str(value)


def _extra(row: dict[str, Any]) -> dict[str, Any]:
    if row.keys() <= _KNOWN:
        return {}
    extra = jsonable({name: value for name, value in row.items() if name not in _KNOWN})
    try:
        # There and back, so that a row reads the same before and after it was stored.
        return cast("dict[str, Any]", orjson.loads(orjson.dumps(extra)))
    except (orjson.JSONEncodeError, orjson.JSONDecodeError):
        _refuse("not_json", "a further column holds text that is not valid Unicode")


def _refuse(code: str, message: str) -> NoReturn:
    raise RowError(message, code=code) from None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true/false", type(None): "null"}
    return names.get(type(value), f"a {type(value).__name__}")
