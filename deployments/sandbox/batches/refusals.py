"""What the batch endpoints refuse, in OpenAI's words."""

from __future__ import annotations

from typing import Any

from deployments.sandbox.batches.dialects import SandboxDialect
from deployments.sandbox.wire import SandboxRefusal

__all__ = [
    "CRASHED",
    "NO_BATCH",
    "NO_FILE",
    "TOO_MANY",
    "UNKNOWN_EXPIRY",
    "bad_create",
    "bad_upload",
    "over",
]

_MOST_PAIRS, _LONGEST_KEY, _LONGEST_VALUE = 16, 64, 512

CRASHED = SandboxRefusal(
    500, None, "The server had an error while processing your request.", kind="server_error"
)
NO_FILE = SandboxRefusal(404, None, "No such File object.", param="id")
NO_BATCH = SandboxRefusal(404, None, "No batch found with that id.")
TOO_MANY = SandboxRefusal(
    429, "rate_limit_exceeded", "Too many requests to /batches.", kind="requests"
)
UNKNOWN_EXPIRY = SandboxRefusal(
    400, "unknown_parameter", "Unknown parameter: 'expires_after'.", param="expires_after"
)
_NO_BATCH_FIELD = "Missing required parameter: '{}'."


def over(state: str) -> SandboxRefusal:
    """A batch that is over cannot be cancelled."""
    return SandboxRefusal(409, None, f"Cannot cancel a batch with status '{state}'.")


def bad_upload(purpose: str, size: int, wanted: str, most: int) -> SandboxRefusal | None:
    """What is wrong with an upload."""
    if purpose != wanted:
        return SandboxRefusal(
            400, None, f"Invalid value for 'purpose': {purpose}.", param="purpose"
        )
    if size > most:
        message = f"Maximum content size limit ({most}) exceeded ({size} bytes read)."
        return SandboxRefusal(413, None, message)
    return None


def bad_create(asked: Any, dialect: SandboxDialect) -> SandboxRefusal | None:
    """What is wrong with the creation of a batch."""
    if not isinstance(asked, dict):
        return SandboxRefusal(400, "invalid_json", "The body is no object.")
    for name in ("input_file_id", "endpoint"):
        if not isinstance(asked.get(name), str):
            return SandboxRefusal(400, None, _NO_BATCH_FIELD.format(name), param=name)
    if asked["endpoint"] not in dialect.endpoints:
        return SandboxRefusal(400, "invalid_value", "Invalid value: 'endpoint'.", param="endpoint")
    if asked.get("completion_window") != "24h" and not dialect.job:
        message = "Invalid value for 'completion_window': supported values are '24h'."
        return SandboxRefusal(400, "invalid_value", message, param="completion_window")
    return None if _fits(asked.get("metadata")) else _METADATA


_METADATA = SandboxRefusal(
    400,
    "invalid_value",
    "Invalid 'metadata': 16 pairs of texts, 64 and 512 long.",
    param="metadata",
)


def _fits(metadata: Any) -> bool:
    if metadata is None:
        return True
    return (
        isinstance(metadata, dict)
        and len(metadata) <= _MOST_PAIRS
        and all(
            isinstance(value, str) and len(name) <= _LONGEST_KEY and len(value) <= _LONGEST_VALUE
            for name, value in metadata.items()
        )
    )
