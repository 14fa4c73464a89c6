"""Reply or failure -> the row of calls.parquet. Unknown stays None: it is not 0."""

from __future__ import annotations

from typing import Any

from tasks.core.calls import Reply
from tasks.core.errors import CallFailed, UpstreamError
from tasks.core.records import CallRow
from tasks.core.settings import Price
from tasks.infer.query import Query

__all__ = ["cost", "failed_row", "reply_row", "skipped_row"]


def skipped_row(input_id: str, stage: Any, name: str, model: str, reason: str) -> CallRow:
    """A cell for which no call was needed."""
    return CallRow(input_id, stage, name, 0, model, "skipped", reason)


def failed_row(query: Query, error: UpstreamError) -> CallRow:
    """A call that got no usable answer."""
    known: dict[str, Any] = {}
    if isinstance(error, CallFailed):
        known = {
            "app_id": error.app_id,
            "attempts": error.attempts,
            "queue_ms": _ms(error.queue),
            "trace_id": error.trace_id,
        }
    return CallRow(
        **_asked(query), status="failed", reason=error.code, raw_snippet=str(error)[:400], **known
    )


def reply_row(
    query: Query, reply: Reply, price: Price | None, earlier: Reply | None = None
) -> CallRow:
    """An answered call; with `earlier`, the answer that had to be asked for twice."""
    before = earlier.usage if earlier else None
    usage = reply.usage
    return CallRow(
        **_asked(query),
        status="ok",
        app_id=reply.app_id,
        endpoint=reply.endpoint,
        finish_reason=reply.finish_reason,
        attempts=reply.attempts + (earlier.attempts if earlier else 0),
        journaled=reply.journaled,
        latency_ms=_ms(reply.latency),
        first_token_ms=_ms(reply.first_token),
        queue_ms=_ms(reply.queue),
        started_at=reply.created - reply.latency,
        trace_id=reply.trace_id,
        request_id=reply.request_id,
        input_tokens=_sum(usage.prompt_tokens, before and before.prompt_tokens),
        output_tokens=_sum(usage.completion_tokens, before and before.completion_tokens),
        cached_tokens=_sum(usage.cached_tokens, before and before.cached_tokens),
        cost_usd=_sum(cost(reply, price), cost(earlier, price) if earlier else None),
    )


def _asked(query: Query) -> dict[str, Any]:
    return {
        "input_id": query.input_id,
        "stage": query.stage,
        "name": query.name,
        "part": query.part,
        "model": query.settings.model,
        "prompt_sha256": query.prompt_version,
        "counted_tokens": query.counted.tokens,
        "counted_exact": query.counted.exact,
    }


def cost(reply: Reply, price: Price | None) -> float | None:
    """US dollars of one reply; None when the price or the usage is unknown. A journaled one cost before."""
    usage = reply.usage
    if price is None or usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    cached = usage.cached_tokens or 0
    cached_price = price.input if price.cached is None else price.cached
    dollars = (usage.prompt_tokens - cached) * price.input + cached * cached_price
    return (dollars + usage.completion_tokens * price.output) / 1e6


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _sum(*values: Any) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
