"""
Rows of well-known data sets -> rows of ours, told apart by their fields.

    fields                                  form           becomes
    content or input_code                   ours           as it is
    instance_id, patch                      SWE-bench      input_id, content; problem_statement -> description
    patch and one of msg, y, oldf, cmtid    CodeReviewer   content; id or cmtid -> input_id; msg -> expected,
                                                           y = 0 -> expected [] (known clean); lang -> language

A row of no form is left to validation. Fields that a form does not name stay further columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["adapt_row"]

_OURS = {"content", "input_code"}
_REVIEWER_MARKS = {"msg", "y", "oldf", "cmtid"}
_CLEAN = {"0", "0.0", "False", "false"}


def adapt_row(row: Any) -> Any:
    """`row` as one of ours where its fields say what it is."""
    if not isinstance(row, dict) or _OURS & row.keys() or row.get("patch") is None:
        return row
    form = _form(row)
    return row if form is None else form(row)


def _form(row: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    if "instance_id" in row:
        return _swe
    return _code_reviewer if _REVIEWER_MARKS & row.keys() else None


def _swe(row: dict[str, Any]) -> dict[str, Any]:
    names = {"instance_id": "input_id", "patch": "content", "problem_statement": "description"}
    return {"kind": "diff"} | {names.get(name, name): value for name, value in row.items()}


def _code_reviewer(row: dict[str, Any]) -> dict[str, Any]:
    numbers = (name for name in ("input_id", "id", "cmtid") if row.get(name) is not None)
    names = {next(numbers, ""): "input_id", "patch": "content", "lang": "language"}
    renamed = {names.get(name, name): value for name, value in row.items() if name != "msg"}
    return {"kind": "diff", "expected": _labels(row)} | renamed


def _labels(row: dict[str, Any]) -> list[dict[str, Any]] | None:
    """A comment is one defect without a place; without a comment only y = 0 says known clean."""
    message = row.get("msg")
    if str(row.get("y")) in _CLEAN:
        return []
    return [{"message": message}] if message else None
