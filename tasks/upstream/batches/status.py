"""Reading what a provider says of a batch; pure, and never surprised by a missing field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tasks.core.calls import MAX_COUNT, Usage
from tasks.core.errors import ReplyError
from tasks.upstream.batches.dialect import BatchDialect
from tasks.upstream.batches.records import BatchCounts, BatchProblem, BatchStatus

__all__ = ["read_page", "read_status"]

_ENDS = ("completed_at", "failed_at", "expired_at", "cancelled_at")
_LATEST = 1e11  # seconds since the epoch; what is beyond is milliseconds


def read_status(body: Any, dialect: BatchDialect) -> BatchStatus:
    """One batch; `body` is the parsed JSON of a creation, a look or a list's item.

    Raises:
        ReplyError: it has no id, so it is none.
    """
    record = body.get("job", body) if isinstance(body, Mapping) else {}
    batch_id = _text(_get(record, "id"))
    if not batch_id:
        msg = "the answer is no batch: it has no id"
        raise ReplyError(msg)
    said = _text(record.get("status"))
    state = dialect.state(said)
    ends = [_instant(record.get(name)) for name in _ENDS]
    return BatchStatus(
        id=batch_id,
        state=state,
        said=said,
        input_file_id=_text(record.get("input_file_id")),
        output_file_id=_text(record.get("output_file_id")),
        error_file_id=_text(record.get("error_file_id")),
        counts=_counts(record.get("request_counts")),
        problems=tuple(_problems(record)),
        metadata=_metadata(record.get("metadata")),
        model=_text(record.get("model")) or _text(record.get("model_id")),
        created=_instant(record.get("created_at")),
        ended=None if state == "running" else max((e for e in ends if e), default=None),
        expires=_instant(record.get("expires_at") or record.get("job_deadline")),
        usage=_usage(record.get("usage")),
    )


def read_page(body: Any, dialect: BatchDialect) -> tuple[list[BatchStatus], bool]:
    """The batches of one page of a list, and whether there are more; some lists are bare arrays.

    Raises:
        ReplyError: it is no list.
    """
    items = body.get("data") if isinstance(body, Mapping) else body
    if items is None and isinstance(body, Mapping) and "data" in body:
        items = []
    if not isinstance(items, list):
        msg = "the answer is no list of batches"
        raise ReplyError(msg)
    more = isinstance(body, Mapping) and body.get("has_more") is True
    return [read_status(item, dialect) for item in items], more


def _counts(value: Any) -> BatchCounts:
    names = ("total", "completed", "failed")
    return BatchCounts(*(_count(_get(value, name)) or 0 for name in names))


def _problems(record: Mapping[str, Any]) -> list[BatchProblem]:
    errors = record.get("errors")
    items = errors.get("data") if isinstance(errors, Mapping) else errors
    found = [_problem(item) for item in items] if isinstance(items, list) else []
    said = _text(record.get("error"))
    return [*found, BatchProblem("", said)] if said else found


def _problem(item: Any) -> BatchProblem:
    message = _text(_get(item, "message")) or str(item)[:300]
    return BatchProblem(_text(_get(item, "code")), message, _count(_get(item, "line")))


def _metadata(value: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, Mapping) else {}


def _usage(value: Any) -> Usage | None:
    if not isinstance(value, Mapping):
        return None
    return Usage(
        prompt_tokens=_count(value.get("input_tokens")),
        completion_tokens=_count(value.get("output_tokens")),
        total_tokens=_count(value.get("total_tokens")),
        cached_tokens=_count(_get(value.get("input_tokens_details"), "cached_tokens")),
        reasoning_tokens=_count(_get(value.get("output_tokens_details"), "reasoning_tokens")),
    )


def _instant(value: Any) -> float | None:
    """Seconds since the epoch, milliseconds, or a text in ISO 8601."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float) and value > 0:
        return value / 1000 if value > _LATEST else float(value)
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _count(value: Any) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
    return value if known else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None
