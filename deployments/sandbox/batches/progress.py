"""How batches go on: whenever somebody looks, as far as the clock has come."""

from __future__ import annotations

import asyncio
import time

from deployments.sandbox.batch_settings import BatchFault
from deployments.sandbox.batch_store import Batch
from deployments.sandbox.batches.dialects import SandboxDialect
from deployments.sandbox.batches.result_lines import error_file, output_file
from deployments.sandbox.batches.rows import answer_next, unanswered_line
from deployments.sandbox.batches.validation import InputFile
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.state import SandboxState

__all__ = ["advance", "cancel"]

_VALIDATED, _ANSWERED = 0.1, 0.9
"""Shares of a batch's seconds after which it is validated, and its rows are answered."""
_AT_ONCE = 50
"""Rows between two looks at what else there is to do."""
_LOOK = 0.5
"""Seconds of work for one look; a batch that is not done by then is still in progress."""
_HALF = frozenset({BatchFault.EXPIRED, BatchFault.CANCELLED, BatchFault.NEVER_ENDING})


async def advance(state: SandboxState, dialect: SandboxDialect) -> None:
    """Bring all batches to where the clock is, oldest first."""
    for batch in list(state.batches.batches.values()):
        if batch.over or batch.busy:
            continue
        batch.busy = True
        try:
            await _advance(batch, state, dialect)
        finally:
            batch.busy = False


def cancel(batch: Batch, state: SandboxState) -> None:
    """Begin to cancel a batch that is not over."""
    batch.enter("cancelling", state.batches.clock.now())


async def _advance(batch: Batch, state: SandboxState, dialect: SandboxDialect) -> None:
    seconds = state.config.batch.seconds
    now = state.batches.clock.now()
    if batch.state == "validating" and now >= batch.created + _VALIDATED * seconds:
        await _validate(batch, state, dialect)
    if batch.state == "in_progress":
        answered = await _answer(batch, state)
        if answered:
            _leave(batch, state, dialect, now)
    if batch.state == "finalizing" and now >= batch.created + seconds:
        _end(batch, state, "completed")
    waited = now - batch.stamps.get("cancelling", now)
    if batch.state == "cancelling" and waited >= state.config.batch.cancel_seconds:
        _end(batch, state, "cancelled")


async def _validate(batch: Batch, state: SandboxState, dialect: SandboxDialect) -> None:
    stored = state.batches.file(batch.owner, batch.input_file_id)
    found = InputFile(dialect, batch.endpoint)
    lines = stored.content.split(b"\n") if stored is not None else []
    for number, line in enumerate(lines, 1):
        found.add(number, line)
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    batch.model, batch.rows = found.model, found.rows
    batch.tokens = sum(Prompt(row.body).tokens for row in found.rows)
    _judge(found, batch, state)
    now = state.batches.clock.now()
    if not found.problems:
        batch.total = len(found.rows)
        batch.enter("in_progress", now)
        return
    batch.problems, batch.rows = found.problems, []
    batch.enter("failed", now)


def _judge(found: InputFile, batch: Batch, state: SandboxState) -> None:
    """Add what is wrong with the file as a whole."""
    settings, faults = state.config.batch, batch.counts
    if BatchFault.INVALID in faults:
        found.problem("invalid_json_line", "This line is not parseable as valid JSON.", 1)
    if not found.rows and not found.problems:
        found.problem("empty_file", "The input file is empty.")
    rows = settings.limit("max_requests", batch.owner, batch.model)
    if rows is not None and len(found.rows) > rows:
        found.problem("too_many_tasks", f"The batch has more than the {rows} requests allowed.")
    if found.rows and not state.config.knows(batch.model):
        found.problem("model_not_found", f"The model {batch.model} does not exist.")
    most = settings.limit("max_enqueued_tokens", batch.owner, batch.model)
    full = most is not None and _enqueued(batch, state) + batch.tokens > most
    if full or BatchFault.TOKEN_LIMIT in faults:
        message = (
            f"Enqueued token limit reached for {batch.model}. Limit: {most or batch.tokens:,} "
            "enqueued tokens. Please try again once some in_progress batches have been completed."
        )
        found.problem("token_limit_exceeded", message)


def _enqueued(batch: Batch, state: SandboxState) -> int:
    others = (
        other
        for other in state.batches.batches.values()
        if other is not batch and not other.over and other.state != "validating"
    )
    return sum(o.tokens for o in others if (o.owner, o.model) == (batch.owner, batch.model))


async def _answer(batch: Batch, state: SandboxState) -> bool:
    """Answer the rows that are due; False: there was no time for all of them."""
    until = time.monotonic() + _LOOK
    while batch.done < _due(batch, state):
        answer_next(batch, state)
        if batch.done % _AT_ONCE == 0:
            await asyncio.sleep(0)
            if time.monotonic() > until or batch.state != "in_progress":
                return False
    return True


def _due(batch: Batch, state: SandboxState) -> int:
    settings, clock = state.config.batch, state.batches.clock
    begun = batch.created + _VALIDATED * settings.seconds
    span = (_ANSWERED - _VALIDATED) * settings.seconds
    share = 1.0 if span <= 0 else min(1.0, (clock.now() - begun) / span)
    most = len(batch.rows) // 2 if _HALF & batch.counts.keys() else len(batch.rows)
    return min(most, int(share * len(batch.rows) + 1e-9))


def _leave(batch: Batch, state: SandboxState, dialect: SandboxDialect, now: float) -> None:
    """What comes after the rows, if it is time."""
    settings, faults = state.config.batch, batch.counts
    if BatchFault.NEVER_ENDING in faults:
        return
    if dialect.expires and now >= batch.created + settings.window:
        _end(batch, state, "expired")
    elif now < batch.created + _ANSWERED * settings.seconds:
        return
    elif BatchFault.EXPIRED in faults:
        _end(batch, state, "expired")
    elif BatchFault.CANCELLED in faults:
        _end(batch, state, "cancelled")
    else:
        batch.enter("finalizing", now)


def _end(batch: Batch, state: SandboxState, end: str) -> None:
    if end != "completed":
        rest = batch.rows[batch.done :]
        batch.bad += [unanswered_line(row, batch, end) for row in rest]
    batch.output_file_id = _saved(batch, state, output_file(batch), "output")
    batch.error_file_id = _saved(batch, state, error_file(batch), "error")
    if batch.error_file_id is None and BatchFault.BLANK_ERROR_ID in batch.counts:
        batch.error_file_id = ""
    batch.good, batch.bad, batch.rows = [], [], []
    batch.enter(end, state.batches.clock.now())


def _saved(batch: Batch, state: SandboxState, content: bytes | None, kind: str) -> str | None:
    if content is None:
        return None
    name = f"{batch.id}_{kind}.jsonl"
    return state.batches.save(batch.owner, name, content, "batch_output", batch.id).id
