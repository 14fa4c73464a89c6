"""
One small real call per app_id and model, as a run would make it: first without a reply format, which
says whether key, model and parameters are taken, then with the configured one.

Each app_id is a pool of its own, so that no other one answers for it; all use the ledger and the
journal of a run, so the calls count against the windows, and what an endpoint refuses in them is
remembered for the run. App_ids are asked beside each other, each as fast as its own quota lets it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from tasks.core.calls import Reply, Request
from tasks.core.check_settings import CheckSettings, ReviewSettings
from tasks.core.errors import ReplyError, Stopped, UpstreamError
from tasks.core.quotas import AppId
from tasks.core.records import Input
from tasks.core.run import Run
from tasks.core.settings import Settings
from tasks.estimate.quota_time import least_seconds
from tasks.review.inputs.render import render_input
from tasks.review.inputs.tokens import count_tokens
from tasks.review.prompts import check_messages, prompt_version
from tasks.review.replies.contract import response_format
from tasks.review.replies.replies import parse_comments
from tasks.upstream.calls.call_context import CallLimits
from tasks.upstream.calls.caller import Caller, open_caller
from tasks.upstream.calls.key_ring import KeyRing
from tasks.upstream.quota import Signal

__all__ = ["SampleCall", "SampleResult", "least_wait", "make_sample_calls", "sample_calls"]

SampleOutcome = Literal["ok", "adapted", "refused", "not_asked"]

_MOST_SECONDS = 120.0
"""Of one attempt; also how long an app_id is waited for beyond what its quota needs."""
_ATTEMPTS, _REFUSED = 2, 4
_GIVE_UP, _HOLD = 10.0, 60.0
_MOST_KEYS = 32
_CODE = "def mean(rows):  # {mark}\n    return sum(rows) / len(rows)\n"


@dataclass(frozen=True, slots=True)
class SampleCall:
    """A small call to one model through one app_id."""

    app_id: AppId
    names: tuple[str, ...]
    """The checks, or "review", that call the model in this way."""
    settings: CheckSettings | ReviewSettings

    @property
    def formats(self) -> tuple[dict[str, Any], ...]:
        """What is added to the body of each call: nothing, then the reply format if there is one."""
        wanted = response_format("check", self.settings.reply_format)
        if wanted is None or "response_format" in self.settings.params():
            return ({},)
        return {}, {"response_format": wanted}


@dataclass(frozen=True, slots=True)
class SampleResult:
    """The outcome of a sample call. Times in seconds."""

    app_id: str
    model: str
    names: tuple[str, ...]
    stream: bool
    outcome: SampleOutcome
    adapted: str = ""
    """What is sent otherwise than configured, as a sentence."""
    message: str = ""
    """The provider's, scrubbed, where it refused; or why its reply is of no use."""
    latency: float | None = None
    first_token: float | None = None
    requests: int = 0
    """Sent, those that were refused included."""
    tokens: tuple[int | None, int | None] = (None, None)
    """Of prompt and reply of the last call, as the endpoint counted."""
    allowed: Mapping[str, int] | None = None
    """Limits in the endpoint's headers: "requests" and "tokens"; None: it names none."""


def sample_calls(settings: Settings) -> list[SampleCall]:
    """Every app_id with every model it serves, once for each way in which the model is called."""
    used: list[tuple[str, CheckSettings | ReviewSettings]] = [
        (check.name, check) for check in settings.check
    ]
    if settings.reviews and settings.review is not None:
        used.append(("review", settings.review))
    found: dict[tuple[str, bytes], SampleCall] = {}
    for app_id in settings.pool:
        for name, model in used:
            if app_id.serves(model.model):
                key = app_id.alias, _way(model)
                earlier = found.get(key, SampleCall(app_id, (), model))
                found[key] = replace(earlier, names=(*earlier.names, name))
    return list(found.values())


def least_wait(calls: Sequence[SampleCall], margin: float) -> float:
    """Seconds that the quotas make all calls take at least, if nothing else was sent before."""
    return max((_least(of_key, margin) for of_key in _by_app_id(calls).values()), default=0.0)


def make_sample_calls(
    calls: Sequence[SampleCall],
    run: Run,
    keys: Mapping[str, KeyRing],
    on_result: Callable[[SampleResult], None] = lambda _: None,
) -> list[SampleResult]:
    """Make the calls; results come in the order of `calls`, `on_result` hears them as they come.

    Raises:
        StateError: journal or ledger cannot be used.
    """
    groups = {alias: group for alias, group in _by_app_id(calls).items() if alias in keys}
    stops = {alias: threading.Event() for alias in groups}
    found: dict[int, SampleResult] = {}

    def ask_all(alias: str, group: list[SampleCall]) -> None:
        with _caller(group, run, keys[alias], stops[alias]) as (caller, allowed):
            for call in group:
                result = _Asking(caller, run.run_id, call).result()
                found[id(call)] = result = replace(result, allowed=dict(allowed) or None)
                on_result(result)

    with ThreadPoolExecutor(max(1, min(len(groups), _MOST_KEYS))) as threads:
        try:
            for done in [threads.submit(ask_all, *one) for one in groups.items()]:
                done.result()
        except BaseException:  # Ctrl-C must not wait for a quota
            for stop in stops.values():
                stop.set()
            raise
    return [found[id(call)] for call in calls if id(call) in found]


def _way(settings: CheckSettings | ReviewSettings) -> bytes:
    way = [settings.model, settings.stream, settings.reply_format, settings.params()]
    return orjson.dumps(way, option=orjson.OPT_SORT_KEYS)


def _by_app_id(calls: Sequence[SampleCall]) -> dict[str, list[SampleCall]]:
    found: dict[str, list[SampleCall]] = {}
    for call in calls:
        found.setdefault(call.app_id.alias, []).append(call)
    return found


def _least(group: Sequence[SampleCall], margin: float) -> float:
    counts: dict[str, float] = {}
    for call in group:
        model = call.settings.model
        counts[model] = counts.get(model, 0) + len(call.formats)
    return least_seconds([group[0].app_id], margin, counts)


@contextmanager
def _caller(
    group: Sequence[SampleCall], run: Run, key: KeyRing, stop: threading.Event
) -> Iterator[tuple[Caller, dict[str, int]]]:
    """A caller on the app_id of `group` alone, which ends its waits by itself; and what headers say."""
    settings, app_id = run.settings, group[0].app_id
    allowed: dict[str, int] = {}
    waits = min(_least(group, settings.margin), settings.longest_wait) + _MOST_SECONDS
    timer = threading.Timer(waits, stop.set)
    timer.daemon = True

    def heard(_alias: str, signal: Signal) -> None:
        said = {"requests": signal.requests.limit, "tokens": signal.tokens.limit}
        allowed.update({name: limit for name, limit in said.items() if limit is not None})

    with open_caller(
        [app_id],
        key,
        journal=run.journal,
        ledger=run.ledger,
        margin=settings.margin,
        limits=_limits(settings),
        give_up_after=min(settings.give_up_after, _GIVE_UP),
        longest_wait=min(settings.longest_wait, _HOLD),
        run_id=run.run_id,
        stop=stop,
        on_signal=heard,
    ) as caller:
        timer.start()
        try:
            yield caller, allowed
        finally:
            timer.cancel()


def _limits(settings: Settings) -> CallLimits:
    return CallLimits(
        timeout=min(settings.timeout, _MOST_SECONDS),
        connect_timeout=settings.connect_timeout,
        stream_idle_timeout=settings.stream_idle_timeout,
        max_attempts=_ATTEMPTS,
        max_refused=_REFUSED,
        deadline=_MOST_SECONDS,
    )


class _Asking:
    """The calls of one sample."""

    def __init__(self, caller: Caller, run_id: str, call: SampleCall) -> None:
        self._caller = caller
        self._mark = f"{run_id} {call.app_id.alias}"
        self._call = call
        self._requests = 0

    def result(self) -> SampleResult:
        """Ask plainly, then with the reply format; the first refusal ends it."""
        try:
            replies = [self._ask(self._request(extra)) for extra in self._call.formats]
        except Stopped:
            late = "its quota let nothing be sent in time: other runs use it, try again later"
            return self._ended("not_asked", late)
        except UpstreamError as error:
            asked = "asked for its reply format: " if self._requests else ""
            self._requests += getattr(error, "attempts", 0)
            return self._ended("refused", asked + self._said(error))
        return self._answered(replies[-1])

    def _said(self, error: UpstreamError) -> str:
        """The provider's sentence, also where the last attempt was not sent any more because of it."""
        endpoint, model = self._call.app_id.base_url, self._call.settings.model
        closed = error.code == "refused_by_endpoint"
        told = self._caller.refusal(endpoint, model) if closed else ""
        return " ".join((told or str(error)).split())

    def _ended(self, outcome: SampleOutcome, message: str) -> SampleResult:
        settings, alias = self._call.settings, self._call.app_id.alias
        return SampleResult(
            alias,
            settings.model,
            self._call.names,
            settings.stream,
            outcome,
            message=message,
            requests=self._requests,
        )

    def _answered(self, reply: Reply) -> SampleResult:
        endpoint, model = self._call.app_id.base_url, self._call.settings.model
        adapted = self._caller.adaptation(endpoint, model)
        return replace(
            self._ended("adapted" if adapted else "ok", _useless(reply)),
            adapted=adapted,
            latency=reply.latency,
            first_token=reply.first_token,
            tokens=(reply.usage.prompt_tokens, reply.usage.completion_tokens),
        )

    def _ask(self, request: Request) -> Reply:
        try:
            reply = self._caller.call(request, fresh_since=time.time())
        finally:
            self._caller.forget(request)  # no run asks it
        self._requests += reply.attempts
        return reply

    def _request(self, extra: dict[str, Any]) -> Request:
        settings = self._call.settings
        item = Input(self._mark, _CODE.format(mark=self._mark), path="mean.py")
        messages = check_messages(item, render_input(item, 1000, len).parts[0])
        return Request(
            model=settings.model,
            messages=messages,
            params=settings.params() | extra,
            prompt_version=prompt_version("check"),
            stream=settings.stream,
            prompt_tokens=count_tokens(messages, settings.model).tokens,
            expected_tokens=settings.expected_tokens,
            cell=self._mark,
        )


def _useless(reply: Reply) -> str:
    """Why no run could read this reply; empty: it can."""
    try:
        parse_comments(reply.content, finish_reason=reply.finish_reason)
    except ReplyError as error:
        return f"it answers, but a run could not use the reply: {error}"
    return ""
