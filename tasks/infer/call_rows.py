"""Reply or failure -> the row of calls.parquet. Unknown stays None: it is not 0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

from tasks.core.calls import Reply, TokenCount, Usage, Via
from tasks.core.errors import UpstreamError
from tasks.core.prices import Price
from tasks.core.records import CallRow
from tasks.infer.query import Query

__all__ = ["as_broken", "failed_row", "is_prompt_cut", "reply_row", "skipped_row", "with_spent"]

_SHORT = 200  # tokens; too few to tell a cut from another encoding
_SPENT = (
    *("attempts", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
    *("cache_write_tokens", "cost_usd"),
)
_CUT_EXACT, _CUT = 0.6, 0.5  # of our count


def skipped_row(input_id: str, stage: Any, name: str, model: str, reason: str) -> CallRow:
    """A cell for which no call was needed."""
    return CallRow(input_id, stage, name, 0, model, "skipped", reason)


def as_broken(row: CallRow) -> CallRow:
    """The row of a cell that a defect of ours made fail, with what it cost."""
    return replace(row, status="failed", reason="internal_error")


def failed_row(
    query: Query, error: UpstreamError, price: Price | None = None, first: Reply | None = None
) -> CallRow:
    """A call that got no usable answer; `first` is the one that was asked for again.

    What its attempts cost is known as far as their replies told.
    """
    paid = _paid([first] if first else [])
    return CallRow(
        **_asked(query),
        **_spent(
            [(one.via, one.usage) for one in paid] + [("online", error.usage or Usage())], price
        ),
        app_id=error.app_id,
        endpoint=error.endpoint,
        attempts=error.attempts + sum(one.attempts for one in paid),
        queue_ms=_ms(error.queue),
        trace_id=error.trace_id,
        status="failed",
        reason=error.code,
        raw_snippet=str(error)[:400],
        via="batch" if error.batch_id else "online" if error.attempts else None,
        batch_id=error.batch_id,
    )


def reply_row(
    query: Query,
    reply: Reply,
    price: Price | None,
    earlier: Reply | None = None,
    read: tuple[str | None, int] = (None, 0),
) -> CallRow:
    """An answered call; with `earlier`, the answer that had to be asked for twice.

    `read` has the rung of the parse ladder that read it, and how many items were dropped.
    It is journaled when all of it is; else its counts are those of what was paid for.
    """
    replies = [earlier, reply] if earlier else [reply]
    counted = _paid(replies) or replies
    return CallRow(
        **_asked(query),
        **_spent([(one.via, one.usage) for one in counted], price),
        status="ok",
        parse_mode=read[0],
        dropped_items=read[1],
        app_id=reply.app_id,
        endpoint=reply.endpoint,
        finish_reason=reply.finish_reason,
        attempts=sum(one.attempts for one in counted),
        journaled=all(one.journaled for one in replies),
        latency_ms=_ms(reply.latency),
        first_token_ms=_ms(reply.first_token),
        queue_ms=_ms(reply.queue),
        started_at=reply.started,
        trace_id=reply.trace_id,
        request_id=reply.request_id,
        sent_model=reply.sent_model,
        via=reply.via,
        batch_id=reply.batch_id,
    )


def is_prompt_cut(counted: TokenCount, usage: Usage) -> bool:
    """Whether the server read far less than was sent, as Ollama does beyond num_ctx, without a word.

    Other encodings count up to a third less; some servers leave out what came from their cache.
    """
    if usage.prompt_tokens is None or counted.tokens < _SHORT:
        return False
    read = usage.prompt_tokens + (usage.cached_tokens or 0)
    return 0 < read < counted.tokens * (_CUT_EXACT if counted.exact else _CUT)


def with_spent(row: CallRow, other: CallRow) -> CallRow:
    """The row with what another call of its cell cost as well, which has no row of its own."""
    counts = {name: _sum(getattr(row, name), getattr(other, name)) for name in _SPENT}
    if row.journaled:
        counts = {name: getattr(other, name) for name in counts}
    return replace(row, **counts, journaled=False)


def _paid(replies: Sequence[Reply]) -> list[Reply]:
    return [one for one in replies if not one.journaled]


def _total(usages: Iterable[Usage]) -> Usage:
    return reduce(Usage.plus, usages, Usage())


def _cost(spent: Sequence[tuple[Via, Usage]], price: Price) -> float | None:
    """Of usages by the way that each went, which has a price of its own."""
    if len(spent) == 1:
        return price.cost(spent[0][1], spent[0][0])
    ways = dict.fromkeys(via for via, usage in spent if usage != Usage())
    costs = [price.cost(_total(usage for via, usage in spent if via == way), way) for way in ways]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(costs) else None


def _spent(spent: Sequence[tuple[Via, Usage]], price: Price | None) -> dict[str, Any]:
    # Nearly all rows are of one reply.
    usage = spent[0][1] if len(spent) == 1 else _total(usage for _, usage in spent)
    return {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cost_usd": None if price is None else _cost(spent, price),
    }


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


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _sum(*values: Any) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
