"""
What a failed attempt means, as data: go on or not, why, and does it use up the call's attempts.

| reason | then | attempts | endpoint |
|---|---|---|---|
| connect, reset, timeout, stream_cut | on another key | max_attempts | failing |
| bad_reply, empty_reply | on another key | max_attempts | alive |
| refusal, too_large | once more | 2 | alive |
| truncated, content_filter of a reply | give up | - | alive |

What a server refuses goes by what the refusal is about (see refusals):

| about | reason | then | attempts |
|---|---|---|---|
| money, key | insufficient_quota, unauthorized, forbidden | on another key | not counted |
| model | model_unavailable | on another key | not counted |
| wait | rate_limited | when the quota says so | not counted |
| try_again | server_error, overloaded, timeout, bad_reply | later | max_attempts |
| input | content_filter; bad_request where only the status says so | give up | - |
| length | context_length | give up | - |
| format, parameter | bad_request | adapted, else give up | not counted |
| endpoint | endpoint_refused | give up | - |
"""

from __future__ import annotations

import random
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import httpx2
import openai
import orjson

from tasks.core.errors import ReplyError
from tasks.upstream.calls.completion import ServerError
from tasks.upstream.calls.refusal_rules import About
from tasks.upstream.calls.refusals import Refusal, classify

__all__ = ["Circumstances", "RetryDecision", "backoff", "decide", "decide_refusal"]

Action = Literal["retry", "retry_later", "give_up"]


@dataclass(frozen=True, slots=True)
class _Rule:
    action: Action
    tries: int | None = None
    counts: bool = True
    alive: bool = True


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(("connect", "reset", "timeout", "stream_cut"), _Rule("retry", alive=False)),
    **dict.fromkeys(("bad_reply", "empty_reply"), _Rule("retry")),
    **dict.fromkeys(("refusal", "too_large"), _Rule("retry", tries=2)),
    **dict.fromkeys(("truncated", "content_filter"), _Rule("give_up")),
}
_GIVE_UP = _Rule("give_up")
_ABOUT: Mapping[About, tuple[str, _Rule]] = {
    "money": ("insufficient_quota", _Rule("retry", counts=False)),
    "key": ("forbidden", _Rule("retry", counts=False)),
    "model": ("model_unavailable", _Rule("retry", counts=False)),
    "wait": ("rate_limited", _Rule("retry_later", counts=False)),
    "try_again": ("server_error", _Rule("retry")),
    "input": ("content_filter", _GIVE_UP),
    "length": ("context_length", _GIVE_UP),
    "format": ("bad_request", _GIVE_UP),
    "parameter": ("bad_request", _GIVE_UP),
    "endpoint": ("endpoint_refused", _GIVE_UP),
}
_TRY_AGAIN = {
    408: "timeout",
    429: "overloaded",
    498: "overloaded",
    503: "overloaded",
    529: "overloaded",
}
_PROXY_REMEDY = (
    "the proxy refused the connection (407 asks for a user and password in HTTPS_PROXY or "
    "HTTP_PROXY): mend it, or put the endpoint's host into NO_PROXY. "
)
_STRICT_RULES = frozenset({78, *range(80, 95)})
"""OpenSSL's codes (X509_V_ERR_...) of what only its flag X509_STRICT asks for."""
_PROXY_STATUS = 407
_SERVER = 500  # where the server's own errors begin
_BUSY = frozenset({503, 529})


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of an attempt beside its error."""

    reached: bool
    """A byte was written, so the attempt used quota."""
    replying: bool = False
    """Headers with status 200 had come."""
    stream: bool = False
    model: str = ""
    """The model that was asked for."""
    headers: Mapping[str, str] | None = None
    """Of a reply with status 200."""


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """What to do after one failed attempt. `message` comes from the server and is not scrubbed."""

    action: Action
    reason: str
    message: str
    counts: bool
    tries: int | None
    """So many attempts with reasons that count, then it is over; None: as many as the call has."""
    alive: bool
    """The endpoint answered; False: it looks down."""
    refusal: Refusal | None = None
    """What the server refused; None: the way or the reply failed."""
    refund: bool = False
    """Nothing was sent, so no quota was used."""
    reconnect: bool = False
    """The connection broke; take a new one."""
    error: ReplyError | None = None
    """The reply that could not be used."""
    text: str = ""
    """What the model had written when the server found it to be no JSON (json_validate_failed)."""


def decide(error: Exception, about: Circumstances) -> RetryDecision:
    """The decision for an error of one attempt.

    Raises:
        Exception: the error itself, when it is none of the upstream's (a bug must not be retried).
    """
    match error:
        case openai.APIStatusError():
            response = error.response
            # The client's `body` drops what stands beside `error`.
            return _refused(error.status_code, response.headers, _content(error), about)
        case ServerError():
            return _refused(200, about.headers or {}, error.body, about, error)
        case ReplyError():
            reason = error.code if error.code in _RULES else "bad_reply"
            return _decision(reason, _RULES[reason], str(error), error=error)
        case openai.APIConnectionError() | httpx2.TransportError() | TimeoutError():
            return _of_connection(error, about)
        case _:
            raise error


def decide_refusal(status: int, body: object, *, model: str) -> RetryDecision:
    """The decision for an error that came as a record, with HTTP's status in it, as batches have it."""
    return _refused(status, {}, body, Circumstances(reached=True, model=model))


def backoff(failures: int, *, base: float, most: float) -> float:
    """Seconds to wait after that many failures: exponential with full jitter (Brooker, AWS 2015)."""
    return random.uniform(0, min(most, base * 2 ** min(failures, 16)))  # noqa: S311  (no secret)


def _content(error: openai.APIStatusError) -> object:
    try:
        return error.response.content or error.body
    except httpx2.StreamError:  # the client could not read it either
        return error.body


def _refused(
    status: int,
    headers: Mapping[str, str],
    body: object,
    about: Circumstances,
    error: ReplyError | None = None,
) -> RetryDecision:
    refusal = classify(status, headers, body, model=about.model, now=time.time())
    reason, rule = _ABOUT[refusal.about]
    status = refusal.status
    if refusal.about == "try_again":
        ours = status < _SERVER and status not in _TRY_AGAIN
        reason = "bad_reply" if ours else _TRY_AGAIN.get(status, reason)
        alive = status < _SERVER and reason != "timeout"
        rule = _Rule("retry_later" if status in _BUSY else "retry", alive=alive)
    elif refusal.about == "key" and status == 401:  # noqa: PLR2004  (HTTP's "unauthorized")
        reason = "unauthorized"
    elif refusal.about == "input" and not refusal.certain:
        reason = "bad_request"
    elif refusal.about == "endpoint" and error is not None:
        reason, rule = "bad_reply", _RULES["bad_reply"]  # a page with 200: once is an accident
    text = f"HTTP {status}: {refusal.sentence or 'no reason given'}"
    text = _PROXY_REMEDY + text if status == _PROXY_STATUS else text
    decision = _decision(reason, rule, text, refusal=refusal, error=error)
    if refusal.code == "json_validate_failed":
        return replace(decision, text=_generated(body))
    return decision


def _generated(body: object) -> str:
    """Groq gives the text back: it may hold all that was asked for, in a fence or cut at its end."""
    try:
        record = orjson.loads(body) if isinstance(body, bytes | str) else body
        text = record["error"]["failed_generation"]  # type: ignore[index]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return text if isinstance(text, str) else ""


def _of_connection(error: Exception, about: Circumstances) -> RetryDecision:
    cause = error.__cause__ or error
    text = f"{type(cause).__name__}: {cause}".rstrip(": ")
    if not about.reached:
        message = _remedy(cause) + text
        return _decision("connect", _RULES["connect"], message, refund=True, reconnect=True)
    if isinstance(error, openai.APITimeoutError | httpx2.TimeoutException | TimeoutError):
        return _decision("timeout", _RULES["timeout"], text)
    reason = "stream_cut" if about.stream and about.replying else "reset"
    return _decision(reason, _RULES[reason], text, reconnect=True)


def _remedy(error: BaseException) -> str:
    """What a user can do about a connection that never came to be, before the system's own words."""
    causes = list(_causes(error))
    text = " ".join(str(cause) for cause in causes).lower()
    if any(isinstance(c, ssl.SSLCertVerificationError) for c in causes) or "certificate" in text:
        return _certificate_remedy(causes)
    if any(isinstance(cause, httpx2.ProxyError) for cause in causes) or "407" in text:
        return _PROXY_REMEDY
    if any(isinstance(c, socket.gaierror) for c in causes) or "name or service" in text:
        return (
            "the endpoint's name is not known to DNS: check base_url, or set HTTPS_PROXY where "
            "only a proxy reaches it. "
        )
    if any(isinstance(c, ConnectionRefusedError) for c in causes) or "refused" in text:
        return (
            "nothing listens at the endpoint's address: check host and port of base_url, or of the "
            "proxy that HTTPS_PROXY or HTTP_PROXY names. "
        )
    if "wrong_version_number" in text or "http_request" in text:
        return "the endpoint does not speak TLS on that port: write http:// in base_url. "
    return ""


def _certificate_remedy(causes: list[BaseException]) -> str:
    if any(getattr(cause, "verify_code", 0) in _STRICT_RULES for cause in causes):
        return (
            "the endpoint's certificate, or that of its authority, breaks a rule of RFC 5280 which "
            "Python 3.13 and later enforce: have it issued anew with what is named here, or use "
            "Python 3.12 or 3.11. "
        )
    return (
        "the endpoint's certificate is not trusted: set ca_file of the app_id, or SSL_CERT_FILE, "
        "to the file of the authority that signed it. "
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(8):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _decision(
    reason: str,
    rule: _Rule,
    message: str,
    *,
    refusal: Refusal | None = None,
    refund: bool = False,
    reconnect: bool = False,
    error: ReplyError | None = None,
) -> RetryDecision:
    return RetryDecision(
        action=rule.action,
        reason=reason,
        message=message,
        counts=rule.counts,
        tries=rule.tries,
        alive=rule.alive,
        refusal=refusal,
        refund=refund,
        reconnect=reconnect,
        error=error,
    )
