"""Files and batches as their provider writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from deployments.sandbox.batch_settings import BatchFault
from deployments.sandbox.batch_store import Batch, StoredFile
from deployments.sandbox.batches.dialects import SandboxDialect

__all__ = ["batch_object", "file_object", "plain_batch"]

_STAMPED = (
    "in_progress",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
)
_FILE_SECONDS = 30 * 86_400
_RUNNING = frozenset({"validating", "in_progress", "finalizing"})
_STRANGE = "warming_up"


def file_object(stored: StoredFile) -> dict[str, Any]:
    """A file, without its content."""
    return {
        "id": stored.id,
        "object": "file",
        "bytes": len(stored.content),
        "created_at": int(stored.created),
        "expires_at": int(stored.created) + _FILE_SECONDS,
        "filename": stored.name,
        "purpose": stored.purpose,
        "status": "processed",
        "status_details": None,
    }


def batch_object(batch: Batch, dialect: SandboxDialect, window: float) -> dict[str, Any]:
    """A batch; `window` in seconds."""
    if dialect.job:
        return _job(batch, dialect, window)
    ends = int(batch.created + window) if dialect.expires else None
    problems = {"object": "list", "data": batch.problems} if batch.problems else None
    stamps = {f"{name}_at": _second(batch.stamps.get(name)) for name in _STAMPED}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model or None,
        "errors": problems,
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": _state(batch, dialect),
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created),
        "expires_at": ends,
        **stamps,
        "request_counts": _counts(batch),
        "usage": _usage(batch),
        "metadata": batch.metadata,
    }


def plain_batch(batch: Batch) -> dict[str, Any]:
    """What /batch-log tells of a batch: all that the sandbox knows."""
    return {
        "id": batch.id,
        "n": batch.n,
        "key": batch.owner,
        "state": batch.state,
        "model": batch.model,
        "input_file_id": batch.input_file_id,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "metadata": batch.metadata,
        "rows": batch.total,
        "done": batch.done,
        "failed": batch.failed,
        "tokens": batch.tokens,
        "created": batch.created,
        "faults": sorted(batch.counts),
    }


def _state(batch: Batch, dialect: SandboxDialect) -> str:
    state = batch.state
    if BatchFault.UNKNOWN_STATE in batch.counts and state in _RUNNING:
        state = _STRANGE
    if BatchFault.CAPITAL_STATES in batch.counts:
        return state.upper()
    return (dialect.states or {}).get(state, state)


def _counts(batch: Batch) -> dict[str, int]:
    return {
        "total": batch.total,
        "completed": batch.done - batch.failed,
        "failed": batch.failed,
    }


def _usage(batch: Batch) -> dict[str, Any]:
    used = batch.usage
    return {
        "input_tokens": used["input_tokens"],
        "input_tokens_details": {"cached_tokens": used["cached_tokens"]},
        "output_tokens": used["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": used["reasoning_tokens"]},
        "total_tokens": used["input_tokens"] + used["output_tokens"],
    }


def _job(batch: Batch, dialect: SandboxDialect, window: float) -> dict[str, Any]:
    found = {
        "id": batch.id,
        "user_id": "user_sandbox",
        "input_file_id": batch.input_file_id,
        "status": _state(batch, dialect),
        "job_deadline": _text(batch.created + window),
        "created_at": _text(batch.created),
        "endpoint": batch.endpoint,
        "progress": 100 * batch.done // max(1, batch.total),
        "model_id": batch.model,
        "completed_at": _text(batch.stamps.get("completed")),
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "error": "; ".join(p["message"] for p in batch.problems) or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _text(instant: float | None) -> str | None:
    if instant is None:
        return None
    return datetime.fromtimestamp(instant, UTC).isoformat().replace("+00:00", "Z")


def _second(instant: float | None) -> int | None:
    return None if instant is None else int(instant)
