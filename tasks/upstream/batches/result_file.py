"""
Rows of the files that a batch leaves behind: replies, failures, broken lines, and what is missing.

| a line | is |
|---|---|
| status 200 and a completion | RowReply; the first one of a question counts |
| status 200 and an error, a refusal, nothing | RowFailure, as the same reply online |
| status 4xx or 5xx | RowFailure, decided as online |
| `error` and no response, as batch_expired | RowFailure that may be asked again |
| no JSON, no custom_id, or one that nobody asked | RowBroken |
| none for a question | RowMissing |

Neither order, counts nor the state of the batch are believed. Of both files, a reply in any line
wins over what else is said of its question. vLLM's older lines have the completion as `response`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import orjson

from tasks.core.calls import Reply
from tasks.core.errors import ReplyError
from tasks.upstream.batches.records import BatchRow, RowBroken, RowFailure, RowMissing, RowReply
from tasks.upstream.calls.completion import Completion, completion_of
from tasks.upstream.calls.refusals import Refusal
from tasks.upstream.calls.retry import Circumstances, RetryDecision, decide, decide_refusal
from tasks.upstream.calls.scrub import Scrubber, scrubbed_reply

__all__ = ["ReplyOrigin", "read_rows"]

_MESSAGE = 300  # characters kept of what a server says
_BOM = b"\xef\xbb\xbf"
_OK = HTTPStatus.OK
_UNSENT = {"batch_expired": "batch_expired", "batch_cancelled": "batch_cancelled"}
_NO_ANSWER = "the line has neither a response nor an error"


@dataclass(frozen=True, slots=True)
class ReplyOrigin:
    """Where the replies of a batch come from. Instants in seconds since the epoch."""

    app_id: str
    endpoint: str
    batch_id: str
    model: str
    """Our name of it."""
    sent_model: str | None = None
    """The endpoint's, where that is another one."""
    submitted: float | None = None
    ended: float | None = None

    def reply(self, completion: Completion, custom_id: str) -> Reply:
        """The reply as a record; its latency is the batch's."""
        times = (self.submitted, self.ended)
        latency = max(0.0, times[1] - times[0]) if times[0] and times[1] else 0.0
        return Reply(
            content=completion.content,
            model=completion.model or self.model,
            finish_reason=completion.finish_reason,
            usage=completion.usage,
            request_id=completion.request_id,
            created=completion.created,
            app_id=self.app_id,
            trace_id=f"{self.batch_id}/{custom_id[:16]}",
            endpoint=self.endpoint,
            latency=latency,
            queue=0.0,
            refusal=completion.refusal,
            started=self.submitted,
            sent_model=self.sent_model,
        )


def read_rows(
    files: Iterable[Iterable[bytes]],
    expected: Collection[str],
    origin: ReplyOrigin,
    scrub: Scrubber | None = None,
) -> Iterator[BatchRow]:
    """Replies and broken lines as they come, then one row for each question without a reply.

    `files` are the lines of the output and of the error file. Only ids and failures are kept.
    """
    reader = _Reader(frozenset(expected), origin, scrub or Scrubber())
    for number, lines in enumerate(files):
        yield from reader.read(number, lines)
    yield from reader.rest(expected)


class _Reader:
    def __init__(self, expected: frozenset[str], origin: ReplyOrigin, scrub: Scrubber) -> None:
        self._expected, self._origin, self._scrub = expected, origin, scrub
        self._answered: set[str] = set()
        self._failed: dict[str, RowFailure] = {}

    def read(self, file: int, lines: Iterable[bytes]) -> Iterator[BatchRow]:
        """Rows of one file."""
        for number, line in enumerate(lines, 1):
            text = line.removeprefix(_BOM) if number == 1 else line
            row = self._row(text) if text.strip() else None
            if isinstance(row, str):
                yield RowBroken(file, number, row)
            elif isinstance(row, RowReply) and row.custom_id not in self._answered:
                self._answered.add(row.custom_id)
                self._failed.pop(row.custom_id, None)
                yield row
            elif isinstance(row, RowFailure) and row.custom_id not in self._answered:
                self._failed.setdefault(row.custom_id, row)

    def rest(self, expected: Collection[str]) -> Iterator[BatchRow]:
        """What became of the other questions, in their order."""
        for custom_id in expected:
            if custom_id not in self._answered:
                yield self._failed.get(custom_id) or RowMissing(custom_id)

    def _row(self, line: bytes) -> RowReply | RowFailure | str:
        """The row, or what is wrong with the line."""
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            return f"the line is not JSON: {error}"
        custom_id = record.get("custom_id") if isinstance(record, dict) else None
        if not isinstance(custom_id, str):
            return "the line has no custom_id"
        if custom_id not in self._expected:
            return f"nobody asked for custom_id {self._scrub(custom_id, 80)}"
        status, body = _response(record)
        if status != _OK or not isinstance(body, Mapping):
            return self._refused(custom_id, record, status, body)
        try:
            reply = self._origin.reply(completion_of(body), custom_id)
            return RowReply(custom_id, scrubbed_reply(reply, self._scrub))
        except ReplyError as error:
            about = Circumstances(reached=True, model=self._sent_model)
            return self._failure(custom_id, decide(error, about), status, error)

    def _refused(
        self, custom_id: str, record: Mapping[str, Any], status: int, body: Any
    ) -> RowFailure:
        error = record.get("error")
        code = error.get("code") if isinstance(error, Mapping) else None
        if code in _UNSENT:
            message = self._scrub(str(error.get("message") or code), _MESSAGE)  # type: ignore[union-attr]
            return RowFailure(custom_id, _UNSENT[code], message, again=True)
        if body is None and error is None:
            return RowFailure(custom_id, "bad_reply", _NO_ANSWER, again=True, status=status)
        # A provider that says no status may name one in the error, as 200 lets it.
        said = body if body is not None else {"error": error}
        decision = decide_refusal(status or _OK, said, model=self._sent_model)
        return self._failure(custom_id, decision, status)

    def _failure(
        self,
        custom_id: str,
        decision: RetryDecision,
        status: int,
        error: ReplyError | None = None,
    ) -> RowFailure:
        return RowFailure(
            custom_id=custom_id,
            reason=decision.reason,
            message=self._scrub(decision.message, _MESSAGE),
            again=decision.action != "give_up",
            status=status,
            refusal=self._scrubbed(decision.refusal),
            usage=None if error is None else error.usage,
        )

    def _scrubbed(self, refusal: Refusal | None) -> Refusal | None:
        if refusal is None:
            return None
        code = None if refusal.code is None else self._scrub(refusal.code)
        return replace(refusal, sentence=self._scrub(refusal.sentence), code=code)

    @property
    def _sent_model(self) -> str:
        return self._origin.sent_model or self._origin.model


def _response(record: Mapping[str, Any]) -> tuple[int, Any]:
    """Status (0: none is said) and body of a line, in either shape."""
    response = record.get("response")
    if not isinstance(response, Mapping):
        return 0, None
    if "choices" in response or response.get("object") in {"chat.completion", "error"}:
        return _OK, response
    status, body = response.get("status_code"), response.get("body")
    if isinstance(body, str):
        body = _parsed(body)
    if not isinstance(status, int) or isinstance(status, bool):
        status = _OK if isinstance(body, Mapping) else 0
    return status, body


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
