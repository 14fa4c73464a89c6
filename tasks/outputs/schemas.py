"""
The Arrow schemas of every output, written down once.

    reviews.parquet    one row per input, comments and calls nested
    comments.parquet   one row per comment, verdict in flat columns
    calls.parquet      one row per call, good or not

A file carries its whole schema also when a run has no comments at all. `SCHEMA_VERSION` rises
when a column changes its meaning or goes away; new columns alone do not raise it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from tasks.core.manifest import OutputEntry

__all__ = ["CALLS", "COMMENTS", "REVIEWS", "SCHEMAS", "SCHEMA_VERSION", "Output"]

SCHEMA_VERSION = 1

_TEXT, _INT, _LONG, _REAL = pa.string(), pa.int32(), pa.int64(), pa.float64()


def _fields(**types: pa.DataType) -> list[pa.Field]:
    return [pa.field(name, kind) for name, kind in types.items()]


_VERDICT = _fields(
    review_model=_TEXT,
    status=_TEXT,
    decision=_TEXT,
    score=_INT,
    reason=_TEXT,
    evidence=_TEXT,
    corrected_severity=_TEXT,
    corrected_start_line=_INT,
    corrected_end_line=_INT,
    duplicate_of=_TEXT,
)

_COMMENT = _fields(
    comment_id=_TEXT,
    fingerprint=_TEXT,
    check_model=_TEXT,
    path=_TEXT,
    side=_TEXT,
    start_line=_INT,
    end_line=_INT,
    loc_method=_TEXT,
    category=_TEXT,
    severity=_TEXT,
    confidence=_REAL,
    title=_TEXT,
    message=_TEXT,
    rationale=_TEXT,
    existing_code=_TEXT,
    suggestion=_TEXT,
    cluster_id=_TEXT,
    check_models=pa.list_(_TEXT),
    agreement=_INT,
    verdict=pa.struct(_VERDICT),
    outcome=_TEXT,
    drop_reason=_TEXT,
    age=_TEXT,
    since=_TEXT,
    severity_said=_TEXT,
)

_CALL = _fields(
    stage=_TEXT,
    name=_TEXT,
    part=_INT,
    model=_TEXT,
    status=_TEXT,
    reason=_TEXT,
    app_id=_TEXT,
    endpoint=_TEXT,
    finish_reason=_TEXT,
    parse_mode=_TEXT,
    dropped_items=_INT,
    attempts=_INT,
    journaled=pa.bool_(),
    latency_ms=_LONG,
    first_token_ms=_LONG,
    queue_ms=_LONG,
    started_at=_REAL,
    trace_id=_TEXT,
    request_id=_TEXT,
    prompt_sha256=_TEXT,
    counted_tokens=_LONG,
    counted_exact=pa.bool_(),
    input_tokens=_LONG,
    output_tokens=_LONG,
    cached_tokens=_LONG,
    reasoning_tokens=_LONG,
    cost_usd=_REAL,
    raw_snippet=_TEXT,
    sent_model=_TEXT,
    via=_TEXT,
    batch_id=_TEXT,
    cache_write_tokens=_LONG,
)

_EXPECTED = _fields(
    path=_TEXT,
    start_line=_INT,
    end_line=_INT,
    side=_TEXT,
    category=_TEXT,
    severity=_TEXT,
    message=_TEXT,
)

REVIEWS = pa.schema(
    _fields(
        input_id=_TEXT,
        run_id=_TEXT,
        kind=_TEXT,
        path=_TEXT,
        language=_TEXT,
        title=_TEXT,
        input_sha256=_TEXT,
        coverage=_TEXT,
        coverage_reason=_TEXT,
        comments=pa.list_(pa.struct(_COMMENT)),
        calls=pa.list_(pa.struct(_CALL)),
        expected=pa.list_(pa.struct(_EXPECTED)),
        extra=_TEXT,
        n_comments=_INT,
        n_kept=_INT,
        n_unverified=_INT,
        schema_version=_INT,
    )
)
"""`extra` is a JSON object of the source's other columns; `expected` is null when not labelled."""

COMMENTS = pa.schema(
    [
        pa.field("input_id", _TEXT),
        pa.field("run_id", _TEXT),
        *[field for field in _COMMENT if field.name != "verdict"],
        *[pa.field(f"verdict_{field.name}", field.type) for field in _VERDICT],
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
