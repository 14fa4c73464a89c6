"""A bound before what tables hold: a value that no column takes fails a cell, and not the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields, replace
from operator import attrgetter
from typing import Any, get_args, get_type_hints

from tasks.core.records import CallRow, Comment, Long, Verdict

__all__ = ["misfits", "refuse_unstorable", "storable_row"]

_SMALL = 2**31
_VALUES = {one: attrgetter(*one.__slots__) for one in (Comment, Verdict, CallRow)}
_LONG = {
    name
    for name, hint in get_type_hints(CallRow, include_extras=True).items()
    if Long in {hint, *get_args(hint)}
}
"""The 64-bit columns; other whole numbers have 32 bits."""


def refuse_unstorable(comments: Sequence[Comment], rows: Sequence[CallRow]) -> None:
    """See that every value of an input's comments and calls fits its column.

    Raises:
        ValueError: one does not; the message has its column.
    """
    verdicts = [one.verdict for one in comments if one.verdict is not None]
    records: list[Comment | Verdict | CallRow] = [*comments, *verdicts, *rows]
    for record in records:
        for name in misfits(record):
            msg = f"column {name} of {type(record).__name__} does not hold its value"
            raise ValueError(msg)


def storable_row(row: CallRow) -> CallRow:
    """The row without the values that no column holds: unknown, or as by default."""
    wrong = set(misfits(row))
    if not wrong:
        return row
    defaults = {one.name: one.default for one in fields(row) if one.default is not MISSING}
    return replace(row, **{name: defaults.get(name, 0) for name in wrong})


def misfits(record: Comment | Verdict | CallRow) -> list[str]:
    """Names of the fields whose value no column holds."""
    if _is_plain(_VALUES[type(record)](record)):
        return []
    return [name for name in record.__slots__ if not _fits(name, getattr(record, name))]


def _is_plain(values: tuple[Any, ...]) -> bool:
    """Whether every number has 32 bits and every text is ASCII, as in nearly all records."""
    texts = [value for value in values if value.__class__ is str]
    numbers = [value for value in values if value.__class__ is int] or (0,)
    return "".join(texts).isascii() and min(numbers) >= -_SMALL and max(numbers) < _SMALL


def _fits(name: str, value: Any) -> bool:
    if isinstance(value, int):
        most = 2**63 if name in _LONG else _SMALL
        return -most <= value < most
    if isinstance(value, str):
        return value.isascii() or _is_text(value)
    return True


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True
