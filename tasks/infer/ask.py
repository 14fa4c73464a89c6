"""One question to one model, down to items that can be used: reply format, parse ladder, one re-ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Generic, Literal, Protocol, TypeVar

from tasks.core.calls import Reply, Request
from tasks.core.errors import ReplyError, Stopped, UpstreamError
from tasks.core.records import CallRow
from tasks.core.settings import Price
from tasks.infer.call_rows import failed_row, reply_row
from tasks.infer.query import Query
from tasks.review.prompts import Messages, reask_messages
from tasks.review.replies.contract import Level, response_format

__all__ = ["Answer", "Asker", "CallsModels"]

_ASK_AGAIN = frozenset({"unparseable", "empty_reply", "wrong_shape", "no_usable_item"})
"""Defects of form: the model may do better when told. A truncated reply would be cut again."""


class Parsed(Protocol):
    """What a parse function returns: its rung of the ladder and how many items it dropped."""

    @property
    def mode(self) -> str: ...
    @property
    def dropped(self) -> int: ...


_P = TypeVar("_P", bound=Parsed)
Parse = Callable[[Reply], _P]


class CallsModels(Protocol):
    """The part of the upstream that is needed here."""

    def call(self, request: Request, *, fresh_since: float | None = None) -> Reply: ...
    def forget(self, request: Request) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer(Generic[_P]):
    """Parsed items, or None when there are none to be had; the row says why."""

    parsed: _P | None
    row: CallRow


class Asker:
    """Turns queries into answers. Thread-safe; one per process."""

    def __init__(
        self, caller: CallsModels, prices: Mapping[str, Price], fresh_since: float | None = None
    ) -> None:
        self._caller = caller
        self._prices = prices
        self._fresh_since = fresh_since

    def ask(self, query: Query, parse: Parse[_P]) -> Answer[_P]:
        """Ask once, and once more if the reply had the wrong form.

        Raises:
            Stopped: the run is ending; the cell was not answered.
        """
        try:
            reply = self._reply(query, query.messages)
        except Stopped:
            raise
        except UpstreamError as error:
            return Answer(None, failed_row(query, error, self._price(query)))
        try:
            return self._answer(query, parse(reply), reply)
        except ReplyError as error:
            return self._again(query, parse, reply, error)

    def _again(self, query: Query, parse: Parse[_P], first: Reply, error: ReplyError) -> Answer[_P]:
        if error.code not in _ASK_AGAIN:
            return Answer(None, self._unreadable(query, first, None, error))
        messages = reask_messages(query.messages, first.content, str(error))
        try:
            second = self._reply(query, messages)
            answer = self._answer(query, parse(second), second, first)
        except Stopped:
            raise
        except ReplyError as again:
            # Replies of no use are no answers: the next night asks the model again.
            self._forget(query, query.messages)
            self._forget(query, messages)
            return Answer(None, self._unreadable(query, second, first, again))
        except UpstreamError as failure:
            self._forget(query, query.messages)
            return Answer(None, failed_row(query, failure, self._price(query), first))
        return Answer(answer.parsed, replace(answer.row, parse_mode="reasked"))

    def _forget(self, query: Query, messages: Messages) -> None:
        self._caller.forget(_request(query, messages))

    def _reply(self, query: Query, messages: Messages) -> Reply:
        return self._caller.call(_request(query, messages), fresh_since=self._fresh_since)

    def _price(self, query: Query) -> Price | None:
        return self._prices.get(query.settings.model)

    def _answer(
        self, query: Query, parsed: _P, reply: Reply, earlier: Reply | None = None
    ) -> Answer[_P]:
        row = reply_row(query, reply, self._price(query), earlier)
        return Answer(parsed, replace(row, parse_mode=parsed.mode, dropped_items=parsed.dropped))

    def _unreadable(
        self, query: Query, reply: Reply, earlier: Reply | None, error: ReplyError
    ) -> CallRow:
        row = reply_row(query, reply, self._price(query), earlier)
        snippet = reply.content[:400].encode("utf-8", "replace").decode()
        return replace(
            row, status="failed", reason=error.code, parse_mode="failed", raw_snippet=snippet
        )


@cache
def _format(stage: Literal["check", "review"], level: Level) -> dict[str, Any] | None:
    """The same object for every call: a schema takes longer to build than to send."""
    return response_format(stage, level)


def _request(query: Query, messages: Messages) -> Request:
    params = query.settings.params()
    if (wanted := _format(query.stage, query.settings.reply_format)) is not None:
        params.setdefault("response_format", wanted)
    return Request(
        model=query.settings.model,
        messages=messages,
        params=params,
        prompt_version=query.prompt_version,
        stream=query.settings.stream,
        prompt_tokens=query.counted.tokens,
        expected_tokens=query.settings.expected_tokens,
        cell="\n".join((query.input_id, query.stage, query.name, str(query.part))),
    )
