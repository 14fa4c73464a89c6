"""One row of a batch: its answer, or its refusal, as a line of the output or error file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import orjson

from deployments.sandbox import refusals
from deployments.sandbox.answering import answered, cached_tokens
from deployments.sandbox.batch_settings import BatchFault
from deployments.sandbox.batch_store import Batch, InputRow
from deployments.sandbox.bill import question_of
from deployments.sandbox.faults import Fault, Sighting
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.state import SandboxState
from deployments.sandbox.wire import SandboxRefusal, SandboxReply, completion_body

__all__ = ["answer_next", "unanswered_line"]

_FAILING = {
    BatchFault.ROWS_400: Fault.STATUS_400,
    BatchFault.ROWS_429: Fault.STATUS_429,
    BatchFault.ROWS_500: Fault.STATUS_500,
}
_UNANSWERED = {
    "expired": "This request could not be executed before the completion window expired.",
    "cancelled": "This request was not executed because its batch was cancelled.",
}


@dataclass(frozen=True, slots=True)
class _Result:
    status: int
    body: Any
    done: SandboxReply | None = None


def answer_next(batch: Batch, state: SandboxState) -> None:
    """Answer the next row of a batch, and charge for it."""
    row = batch.rows[batch.done]
    result = _result(row, batch, state)
    good = result.status == HTTPStatus.OK
    bare = good and BatchFault.BARE_RESPONSE in batch.counts
    response = result.body if bare else _response(result, row)
    line = {"id": _line_id(batch, row), "custom_id": row.custom_id, "response": response}
    (batch.good if good else batch.bad).append(orjson.dumps({**line, "error": None}))
    batch.done += 1
    batch.failed += not good
    state.batches.rows += 1
    if result.done is not None:
        _charge(result.done, row, batch, state)


def unanswered_line(row: InputRow, batch: Batch, end: str) -> bytes:
    """The line of a row that was not reached before the batch was "expired" or "cancelled"."""
    error = {"code": f"batch_{end}", "message": _UNANSWERED[end]}
    line = {"id": _line_id(batch, row), "custom_id": row.custom_id}
    return orjson.dumps({**line, "response": None, "error": error})


def _response(result: _Result, row: InputRow) -> dict[str, Any]:
    request_id = hashlib.sha256(row.custom_id.encode()).hexdigest()[:32]
    return {"status_code": result.status, "request_id": request_id, "body": result.body}


def _line_id(batch: Batch, row: InputRow) -> str:
    named = f"{batch.id}\x1f{row.custom_id}".encode()
    return f"batch_req_{hashlib.sha256(named).hexdigest()[:24]}"


def _result(row: InputRow, batch: Batch, state: SandboxState) -> _Result:
    config, prompt = state.config, Prompt(row.body)
    sha = hashlib.sha256(orjson.dumps(row.body)).hexdigest()
    state.log.sends[sha] += 1
    seen = Sighting(
        0, batch.owner, sha, state.log.sends[sha], batch.model, prompt.text, tier="batch"
    )
    fault = _forced(batch) or state.picker.pick(seen)
    traits = config.traits(batch.model)
    refusal = refusals.for_body(prompt, batch.model, traits, config)
    if refusal is None and fault is not None:
        refusal = refusals.for_fault(fault, "", batch.model, config)
    if refusal is not None:
        return _refused(refusal, state)
    scope = f"{batch.owner}\x1f{batch.model}"
    cached = cached_tokens(prompt, batch.model, config, state.cache, scope)
    reply_id = f"chatcmpl-{sha[:16]}-b{batch.n}"
    done = answered(prompt, batch.model, reply_id, config, fault=fault, cached=cached)
    body = completion_body(replace(done, tier=None), config.provider.style).strip()
    return _Result(HTTPStatus.OK, orjson.Fragment(body), done)


def _forced(batch: Batch) -> Fault | None:
    if BatchFault.ROWS_REFUSED in batch.counts:
        return Fault.STATUS_400
    return next((fault for name, fault in _FAILING.items() if batch.spend(name)), None)


def _refused(refusal: SandboxRefusal, state: SandboxState) -> _Result:
    provider = state.config.provider
    worded = provider.worded(refusal)
    return _Result(worded.status, provider.shape(worded))


def _charge(done: SandboxReply, row: InputRow, batch: Batch, state: SandboxState) -> None:
    state.bill.charge("batch", done, question_of(batch.model, row.body))
    state.log.billed[hashlib.sha256(orjson.dumps(row.body)).hexdigest()] += 1
    batch.usage["input_tokens"] += done.prompt_tokens
    batch.usage["output_tokens"] += done.completion_tokens
    batch.usage["cached_tokens"] += done.cached_tokens or 0
    batch.usage["reasoning_tokens"] += done.reasoning_tokens or 0
