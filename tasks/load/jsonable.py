"""Values of any source -> values that JSON holds."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

from tasks.core.errors import RowError

__all__ = ["jsonable"]

MAX_DEPTH = 100
_INT64 = 2**63
_MAX_BITS = 10_000
"""Python refuses to write numbers of more than 4,300 digits."""


def jsonable(value: Any, depth: int = 0) -> Any:
    """`value` with what JSON lacks written as text; what JSON has stays as it is.

    NaN becomes None, as it is how pandas writes a gap. Whole numbers beyond 64 bits, decimals and
    dates become text, bytes become text or base64.

    Raises:
        RowError: code not_json, nested deeper than `MAX_DEPTH`.
    """
    if depth > MAX_DEPTH:
        msg = f"a further column is nested deeper than {MAX_DEPTH} levels"
        raise RowError(msg, code="not_json")
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return _whole(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return {_plain(name): jsonable(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item, depth + 1) for item in value]
    return _plain(value)


def _whole(value: int) -> int | str:
    if value.bit_length() > _MAX_BITS:
        msg = "a further column holds a number of thousands of digits"
        raise RowError(msg, code="not_json")
    return value if -_INT64 <= value < _INT64 else str(value)


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return str(value) if math.isinf(value) else value


def _plain(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return _from_bytes(bytes(value))
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _from_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
