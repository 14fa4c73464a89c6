"""One question to one model, down to items that can be used: reply format, parse ladder, one re-ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Generic, Literal, Protocol, TypeVar

from tasks.core.calls import Reply, Request
from tasks.core.check_settings import CheckSettings, ReviewSettings, ToolSettings
from tasks.core.errors import ReplyError, Stopped, UpstreamError
from tasks.core.prices import Price
from tasks.core.records import CallRow, Input
from tasks.core.settings import Settings
from tasks.infer.call_rows import failed_row, is_prompt_cut, reply_row, with_spent
from tasks.infer.progress import Progress
from tasks.infer.query import Query
from tasks.infer.tool_checks import ToolAnswer
from tasks.review.inputs.tokens import count_tokens
from tasks.review.prompts import Messages, reask_messages
from tasks.review.prompts.team_rules import TeamRules
from tasks.review.replies.contract import Level, response_format

__all__ = ["Asked", "Asker", "CallsModels", "Worker"]

_ASK_AGAIN = frozenset({"unparseable", "empty_reply", "wrong_shape", "no_usable_item"})
"""Defects of form: the model may do better when told. A truncated reply would be cut again."""


_NOT_TO_BE_HAD = frozenset(
    {"refused_by_endpoint", "endpoint_refused", "model_unavailable", "quota_held", "no_keys_left"}
)
"""Failures of the model's place or quota, which any question would meet in this run."""


class Parsed(Protocol):
    """What a parse function returns: its rung of the ladder and how many items it dropped."""

    @property
    def mode(self) -> str: ...
    @property
    def dropped(self) -> int: ...


_P = TypeVar("_P", bound=Parsed)
Parse = Callable[[Reply], _P]


class CallsModels(Protocol):
    """The part of a Caller that asking needs; a dry run has one that only reads the journal."""

    def call(self, request: Request, *, fresh_since: float | None = None) -> Reply: ...
    def forget(self, request: Request) -> None: ...


@dataclass(frozen=True, slots=True)
class Asked(Generic[_P]):
    """Parsed items, or None when there are none to be had; the row says why."""

    parsed: _P | None
    row: CallRow


class Worker(Protocol):
    """Threads, settings and models that the steps of an input use: a shard's worker, or a dry run."""

    @property
    def settings(self) -> Settings: ...
    @property
    def progress(self) -> Progress: ...
    @property
    def team_rules(self) -> TeamRules: ...
    def submit(self, step: Callable[..., Any], /, *args: Any) -> Any: ...
    def ask(self, query: Query, parse: Parse[_P]) -> Asked[_P]: ...
    def tool_answer(self, tool: ToolSettings, item: Input) -> ToolAnswer: ...
    def broken(self, input_id: str, error: BaseException) -> None: ...


class Asker:
    """Turns queries into answers. Thread-safe; one per process."""

    def __init__(
        self,
        caller: CallsModels,
        prices: Mapping[str, Price],
        fresh_since: float | None = None,
        started: float = 0.0,
    ) -> None:
        """`started` is when the run did: a query that asks `anew` takes no answer from before it."""
        self._caller = caller
        self._prices = prices
        self._fresh_since = fresh_since
        self._started = started

    def ask(self, query: Query, parse: Parse[_P]) -> Asked[_P]:
        """Ask once, and once more if the reply had the wrong form.

        A model that is not to be had in this run is replaced by the next one of its `fallback`; the
        row says which has answered.

        Raises:
            Stopped: the run is ending; the cell was not answered.
        """
        answer = self._ask(query, parse)
        for other in _fallbacks(query):
            if answer.row.status != "failed" or answer.row.reason not in _NOT_TO_BE_HAD:
                break
            spent, answer = answer.row, self._ask(other, parse)
            if spent.attempts:
                answer = Asked(answer.parsed, with_spent(answer.row, spent))
        return answer

    def _ask(self, query: Query, parse: Parse[_P]) -> Asked[_P]:
        try:
            reply = self._reply(query, query.messages)
        except Stopped:
            raise
        except UpstreamError as error:
            return Asked(None, failed_row(query, error, self._price(query)))
        try:
            return self._answer(query, parse(reply), reply)
        except ReplyError as error:
            return self._again(query, parse, reply, error)

    def _again(self, query: Query, parse: Parse[_P], first: Reply, error: ReplyError) -> Asked[_P]:
        if error.code not in _ASK_AGAIN:
            return Asked(None, self._unreadable(query, first, None, error))
        messages = reask_messages(query.messages, first.content, str(error))
        try:
            second = self._reply(query, messages)
            answer = self._answer(query, parse(second), second, first)
        except Stopped:
            raise
        except ReplyError as again:
            # Replies of no use are no answers: the next run asks the model again.
            self._forget(query, query.messages)
            self._forget(query, messages)
            return Asked(None, self._unreadable(query, second, first, again))
        except UpstreamError as failure:
            self._forget(query, query.messages)
            return Asked(None, failed_row(query, failure, self._price(query), first))
        return Asked(answer.parsed, replace(answer.row, parse_mode="reasked"))

    def _forget(self, query: Query, messages: Messages) -> None:
        self._caller.forget(_request(query, messages))

    def _reply(self, query: Query, messages: Messages) -> Reply:
        since = max(self._started, self._fresh_since or 0.0) if query.anew else self._fresh_since
        return self._caller.call(_request(query, messages), fresh_since=since)

    def _price(self, query: Query) -> Price | None:
        return self._prices.get(query.settings.model)

    def _answer(
        self, query: Query, parsed: _P, reply: Reply, earlier: Reply | None = None
    ) -> Asked[_P]:
        price = self._price(query)
        row = reply_row(query, reply, price, earlier, (parsed.mode, parsed.dropped))
        if is_prompt_cut(query.counted, reply.usage):
            # What answers a part of the question is no answer to it once the server is mended.
            self._forget(query, query.messages)
            row = replace(row, reason="prompt_cut")
        return Asked(parsed, row)

    def _unreadable(
        self, query: Query, reply: Reply, earlier: Reply | None, error: ReplyError
    ) -> CallRow:
        row = reply_row(query, reply, self._price(query), earlier)
        snippet = reply.content[:400].encode("utf-8", "replace").decode()
        return replace(
            row, status="failed", reason=error.code, parse_mode="failed", raw_snippet=snippet
        )


def _fallbacks(query: Query) -> Iterator[Query]:
    """The same question to each model of its `fallback`."""
    settings = query.settings
    for model in settings.fallback if isinstance(settings, CheckSettings) else ():
        changed = settings.model_copy(update={"model": model})
        yield replace(query, settings=changed, counted=count_tokens(query.messages, model))


def _format(query: Query) -> dict[str, Any] | None:
    settings = query.settings
    batch = settings.batch if isinstance(settings, ReviewSettings) else 1
    return _cached_format(query.stage, settings.reply_format, batch)


@cache
def _cached_format(
    stage: Literal["check", "review"], level: Level, batch: int
) -> dict[str, Any] | None:
    """The same object for every call: a schema takes longer to build than to send."""
    return response_format(stage, level, batch)


def _request(query: Query, messages: Messages) -> Request:
    params = query.settings.params()
    if (wanted := _format(query)) is not None:
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
        flex_patience=query.settings.flex_seconds,
    )
