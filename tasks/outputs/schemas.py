"""
The Arrow schemas of every output, made from the records of tasks.core.records.

    reviews.parquet    one row per input, comments and calls nested
    comments.parquet   one row per comment, verdict in flat columns
    calls.parquet      one row per call, good or not

A file carries its whole schema also when a run has no comments at all. `SCHEMA_VERSION` rises
when a column changes its meaning or goes away; new columns alone do not raise it.
"""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pyarrow as pa

from tasks.core.manifest import OutputEntry
from tasks.core.records import CallRow, Comment, Expected, Long, Verdict

__all__ = ["CALLS", "COMMENTS", "REVIEWS", "SCHEMAS", "SCHEMA_VERSION", "Output"]

SCHEMA_VERSION = 1

_TEXT, _INT = pa.string(), pa.int32()
_PLAIN = {str: _TEXT, int: _INT, Long: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _type(hint: Any) -> pa.DataType:
    """The Arrow type of a field of a record."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    if isinstance(hint, type) and is_dataclass(hint):
        return pa.struct(_fields(hint))
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _TEXT
    if origin is tuple:
        return pa.list_(_type(inner[0]))
    return _type(next(one for one in inner if one is not NoneType))


def _fields(record: type) -> list[pa.Field]:
    """The fields of a record as columns, all of which may be null."""
    hints = get_type_hints(record, include_extras=True)
    return [pa.field(name, _type(hint)) for name, hint in hints.items()]


_COMMENT = _fields(Comment)
_CALL = [field for field in _fields(CallRow) if field.name != "input_id"]

REVIEWS = pa.schema(
    {
        "input_id": _TEXT,
        "run_id": _TEXT,
        "kind": _TEXT,
        "path": _TEXT,
        "language": _TEXT,
        "title": _TEXT,
        "input_sha256": _TEXT,
        "coverage": _TEXT,
        "coverage_reason": _TEXT,
        "comments": pa.list_(pa.struct(_COMMENT)),
        "calls": pa.list_(pa.struct(_CALL)),
        "expected": pa.list_(_type(Expected)),
        "extra": _TEXT,
        "n_comments": _INT,
        "n_kept": _INT,
        "n_unverified": _INT,
        "schema_version": _INT,
    }
)
"""`extra` is a JSON object of the source's other columns; `expected` is null when not labelled."""

COMMENTS = pa.schema(
    [
        pa.field("input_id", _TEXT),
        pa.field("run_id", _TEXT),
        *[field for field in _COMMENT if field.name != "verdict"],
        *[pa.field(f"verdict_{field.name}", field.type) for field in _fields(Verdict)],
    ]
)

CALLS = pa.schema([pa.field("input_id", _TEXT), pa.field("run_id", _TEXT), *_CALL])

SCHEMAS: dict[str, pa.Schema] = {"reviews": REVIEWS, "comments": COMMENTS, "calls": CALLS}


@dataclass(frozen=True, slots=True)
class Output:
    """An output file as it was written: its entry in the manifest, with its name."""

    name: str
    rows: int
    bytes: int
    sha256: str

    @property
    def entry(self) -> OutputEntry:
        """The file's entry in the manifest."""
        return {"rows": self.rows, "bytes": self.bytes, "sha256": self.sha256}
