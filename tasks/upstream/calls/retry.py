"""
What a failed attempt means, as data: go on or not, why, and does it use up the call's attempts.

| reason | then | attempts | endpoint |
|---|---|---|---|
| connect, reset, timeout, stream_cut, server_error | on another key | max_attempts | failing |
| overloaded | later | max_attempts | failing |
| rate_limited | when the quota says so | not counted | alive |
| insufficient_quota, unauthorized, forbidden | on another key | not counted | alive |
| bad_reply, empty_reply | on another key | max_attempts | alive |
| refusal, too_large | once more | 2 | alive |
| bad_request, response_format_unsupported, context_length, content_filter | give up | - | alive |

A rate limit is the quota's matter and not the call's, so it does not use up attempts; a key that the
server refuses is disabled by the quota, so there are at most as many of those as keys.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
import openai

from tasks.core.errors import ReplyError
from tasks.upstream.calls.completion import ServerError
from tasks.upstream.quota import Signal, read_signal

__all__ = ["Circumstances", "Decision", "backoff", "decide"]

Action = Literal["retry", "retry_later", "give_up"]


@dataclass(frozen=True, slots=True)
class _Rule:
    action: Action
    tries: int | None = None
    counts: bool = True
    alive: bool = True


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(
        ("connect", "reset", "timeout", "stream_cut", "server_error"), _Rule("retry", alive=False)
    ),
    "overloaded": _Rule("retry_later", alive=False),
    "rate_limited": _Rule("retry_later", counts=False),
    **dict.fromkeys(
        ("insufficient_quota", "unauthorized", "forbidden"), _Rule("retry", counts=False)
    ),
    **dict.fromkeys(("bad_reply", "empty_reply"), _Rule("retry")),
    **dict.fromkeys(("refusal", "too_large"), _Rule("retry", tries=2)),
}
_GIVE_UP = _Rule("give_up")

_STATUS = {401: "unauthorized", 402: "insufficient_quota", 403: "forbidden", 408: "timeout"}
_OVERLOADED = frozenset({503, 529})
_FORMAT_WORDS = ("response_format", "response format", "json_schema", "structured output")
_LENGTH_WORDS = (
    "context length",
    "context window",
    "context_length",
    "maximum context",
    "too many tokens",
)
_FILTER_WORDS = ("content_filter", "content_policy", "content management policy")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of an attempt beside its error."""

    reached: bool
    """A byte was written, so the attempt used quota."""
    replying: bool = False
    """Headers with status 200 had come."""
    stream: bool = False
    wants_format: bool = False
    """The request carried a response_format."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do after one failed attempt. `message` comes from the server and is not scrubbed."""

    action: Action
    reason: str
    message: str
    counts: bool
    tries: int | None
    """So many attempts with reasons that count, then it is over; None: as many as the call has."""
    alive: bool
    """The endpoint answered; False: it looks down."""
    signal: Signal | None = None
    refund: bool = False
    """Nothing was sent, so no quota was used."""
    reconnect: bool = False
    """The connection broke; take a new one."""


def decide(error: Exception, about: Circumstances) -> Decision:
    """The decision for an error of one attempt.

    Raises:
        Exception: the error itself, when it is none of the upstream's (a bug must not be retried).
    """
    match error:
        case openai.APIStatusError():
            return _of_status(error.status_code, error.body, error.response.headers, about)
        case ServerError(status=int(status)):
            return _of_status(status, error.error, {}, about)
        case ReplyError():
            reason = (
                error.code
                if error.code in _RULES or error.code == "content_filter"
                else "bad_reply"
            )
            return _decision(reason, str(error))
        case openai.APIConnectionError() | httpx2.TransportError() | TimeoutError():
            return _of_connection(error, about)
        case _:
            raise error


def backoff(failures: int, *, base: float, most: float) -> float:
    """Seconds to wait after that many failures: exponential with full jitter (Brooker, AWS 2015)."""
    return random.uniform(0, min(most, base * 2 ** min(failures, 16)))  # noqa: S311  (no secret)


def _of_connection(error: Exception, about: Circumstances) -> Decision:
    cause = error.__cause__ or error
    text = f"{type(cause).__name__}: {cause}".rstrip(": ")
    if not about.reached:
        return _decision("connect", text, refund=True, reconnect=True)
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException | TimeoutError):
        return _decision("timeout", text)
    reason = "stream_cut" if about.stream and about.replying else "reset"
    return _decision(reason, text, reconnect=True)


def _of_status(
    status: int, body: Any, headers: Mapping[str, str], about: Circumstances
) -> Decision:
    record: Mapping[str, Any] = body if isinstance(body, dict) else {}
    code, message = str(record.get("code") or record.get("type") or ""), record.get("message")
    text = message if isinstance(message, str) else str(body or "")
    signal = read_signal(status, headers, code, now_epoch=time.time())
    reason = _reason(status, f"{code} {record.get('param')} {text}".lower(), signal, about)
    if reason == "forbidden" and not record:
        # An API refuses a key in JSON. A page is a firewall's that disliked the code under review:
        # the key is fine, and would be lost to the run.
        return _decision("bad_request", f"HTTP 403 that is not the API's: {text}")
    return _decision(reason, f"HTTP {status}: {text}", signal=signal)


def _reason(status: int, text: str, signal: Signal, about: Circumstances) -> str:
    if status >= 500:  # noqa: PLR2004  (HTTP's server errors)
        return "overloaded" if status in _OVERLOADED else "server_error"
    if status == 429:  # noqa: PLR2004  (HTTP's "too many requests")
        return "insufficient_quota" if signal.kind == "insufficient_quota" else "rate_limited"
    if any(word in text for word in _FILTER_WORDS):
        return "content_filter"
    return _STATUS.get(status) or _of_bad_request(text, about)


def _of_bad_request(text: str, about: Circumstances) -> str:
    if any(word in text for word in _LENGTH_WORDS):
        return "context_length"
    if about.wants_format and any(word in text for word in _FORMAT_WORDS):
        return "response_format_unsupported"
    return "bad_request"


def _decision(
    reason: str,
    message: str,
    *,
    signal: Signal | None = None,
    refund: bool = False,
    reconnect: bool = False,
) -> Decision:
    rule = _RULES.get(reason, _GIVE_UP)
    return Decision(
        action=rule.action,
        reason=reason,
        message=message,
        counts=rule.counts,
        tries=rule.tries,
        alive=rule.alive,
        signal=signal,
        refund=refund,
        reconnect=reconnect,
    )
