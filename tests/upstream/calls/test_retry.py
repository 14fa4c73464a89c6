"""Decisions as data: every failure has a stable reason, and a bug is no failure of the upstream."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import httpx2
import openai
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import ReplyError
from tasks.upstream.calls.completion import ServerError, read_completion
from tasks.upstream.calls.retry import Circumstances, RetryDecision, backoff, decide

SENT = Circumstances(reached=True)
REASONS = {
    *("timeout", "connect", "reset", "stream_cut", "server_error", "overloaded", "rate_limited"),
    *("insufficient_quota", "unauthorized", "forbidden", "bad_request", "bad_reply"),
    *("context_length", "content_filter", "empty_reply", "refusal", "too_large", "truncated"),
    *("model_unavailable", "endpoint_refused"),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 999) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def of_status(status: int, body: Any, about: Circumstances = SENT, **headers: str) -> RetryDecision:
    """The decision for an error as the openai client raises it."""
    request = httpx2.Request("POST", "http://x.test/v1/chat/completions")
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body.encode("utf-8", "replace") if isinstance(body, str) else orjson.dumps(body)
    response = httpx2.Response(status, headers=names, request=request, content=content)
    return decide(openai.APIStatusError("error", response=response, body=body), about)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"message": "bad"}, "bad_request"),
        (400, {"code": "context_length_exceeded", "message": "long"}, "context_length"),
        (400, {"message": "This model's maximum context length is 8192 tokens"}, "context_length"),
        (400, {"code": "content_filter", "message": "policy"}, "content_filter"),
        (403, {"code": "content_policy_violation", "message": "policy"}, "content_filter"),
        (404, {"code": "model_not_found", "message": "no such model"}, "model_unavailable"),
        (404, "<html><h1>404 Not Found</h1></html>", "endpoint_refused"),
        (408, {"message": "slow"}, "timeout"),
        (401, {"message": "who"}, "unauthorized"),
        (402, {"message": "pay"}, "insufficient_quota"),
        (403, {"code": "permission_denied", "message": "no"}, "forbidden"),
        (429, {"code": "insufficient_quota", "message": "pay"}, "insufficient_quota"),
        (429, {"message": "slow down"}, "rate_limited"),
        (429, "plain text", "rate_limited"),
        (500, None, "server_error"),
        (503, "<html>", "overloaded"),
        (529, {"type": "overloaded_error", "message": "busy"}, "overloaded"),
    ],
)
def test_statuses(status: int, body: Any, reason: str) -> None:
    """Status, code and words of the body decide together."""
    decision = of_status(status, body)
    assert decision.reason == reason
    assert decision.alive == (status < 500 and status != 408)
    final = {"bad_request", "context_length", "content_filter", "endpoint_refused"}
    assert (decision.action == "give_up") == (reason in final)
    later = {"rate_limited", "insufficient_quota", "unauthorized", "forbidden", "model_unavailable"}
    assert decision.counts == (reason not in later)


@pytest.mark.parametrize("status", [400, 422])
def test_formats(status: int) -> None:
    """A refused response_format is named, so that it can be left out."""
    refusal = of_status(
        status, {"message": "Invalid parameter", "param": "response_format"}
    ).refusal
    assert refusal is not None
    assert (refusal.about, refusal.parameter) == ("format", "response_format")


def test_a_firewalls_page_does_not_cost_the_key() -> None:
    """403 in HTML is about this input, and not for certain."""
    decision = of_status(403, "<html>Request blocked</html>")
    assert decision.refusal is not None
    assert (decision.reason, decision.refusal.about) == ("bad_request", "input")


def unidentified() -> ssl.SSLCertVerificationError:
    """What Python 3.13 says of a certificate that does not name its authority's key."""
    error = ssl.SSLCertVerificationError("Missing Authority Key Identifier")
    error.verify_code = 85
    return error


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        (ssl.SSLCertVerificationError("unable to get local issuer certificate"), "SSL_CERT_FILE"),
        (unidentified(), "have it issued anew"),
        (socket.gaierror(-2, "Name or service not known"), "check base_url"),
        (ConnectionRefusedError(111, "Connection refused"), "host and port of base_url"),
        (httpx2.ProxyError("407 Proxy Authentication Required"), "NO_PROXY"),
    ],
)
def test_a_connection_that_never_came_to_be_names_its_remedy(cause: Exception, remedy: str) -> None:
    """Certificate, name, address and proxy are told apart, also below the client's own errors."""
    between = cause if isinstance(cause, httpx2.ProxyError) else httpx2.ConnectError(str(cause))
    if between is not cause:
        between.__cause__ = cause
    error = openai.APIConnectionError(request=httpx2.Request("POST", "http://x.test"))
    error.__cause__ = between
    decision = decide(error, Circumstances(reached=False))
    assert remedy in decision.message
    assert str(cause) in decision.message


def test_the_servers_wait_is_kept() -> None:
    """Retry-After goes along in the refusal."""
    refusal = of_status(429, {"message": "slow"}, retry_after="7").refusal
    assert refusal is not None
    assert (refusal.about, refusal.wait) == ("wait", 7.0)


def test_connections() -> None:
    """What left no byte is refunded; what broke is replaced; a timeout keeps its connection's client."""
    request = httpx2.Request("POST", "http://x.test")
    broken = openai.APIConnectionError(request=request)
    unsent = decide(broken, Circumstances(reached=False))
    assert (unsent.reason, unsent.refund, unsent.reconnect) == ("connect", True, True)
    reset = decide(broken, SENT)
    assert (reset.reason, reset.refund, reset.reconnect) == ("reset", False, True)
    cut = decide(httpx2.ReadError("gone"), Circumstances(reached=True, replying=True, stream=True))
    assert (cut.reason, cut.alive) == ("stream_cut", False)
    late = decide(openai.APITimeoutError(request=request), SENT)
    assert (late.reason, late.refund, late.reconnect) == ("timeout", False, False)
    assert decide(TimeoutError("silent"), SENT).reason == "timeout"


def test_a_bug_is_not_retried() -> None:
    """An error that is not the upstream's goes through."""
    with pytest.raises(ZeroDivisionError):
        decide(ZeroDivisionError(), SENT)


def test_a_200_with_an_error_in_it() -> None:
    """Its own status decides where it names one."""
    for body, reason in (
        ({"error": {"message": "slow down", "code": 429}}, "rate_limited"),
        ({"error": {"message": "busy", "code": "503"}}, "overloaded"),
        ({"error": {"message": "odd"}}, "bad_reply"),
        ({"choices": [{"message": {"content": "x"}, "error": {"code": 502}}]}, "server_error"),
        ({"error": "odd"}, "bad_reply"),
    ):
        with pytest.raises(ServerError) as caught:
            read_completion(orjson.dumps(body), "application/json")
        assert decide(caught.value, SENT).reason == reason


@given(st.integers(400, 599), JSON)
def test_any_error_has_a_known_reason(status: int, body: Any) -> None:
    """Whatever a server puts into an error, there is a decision."""
    assert of_status(status, body).reason in REASONS


@given(JSON, JSON, JSON, JSON)
def test_any_reply_is_read_or_refused(body: Any, choice: Any, message: Any, usage: Any) -> None:
    """Whatever a server puts into a reply, there is a completion or a ReplyError with a reason."""
    for record in (
        body,
        {"choices": body, "usage": usage},
        {"choices": [choice], "error": body},
        {"choices": [{"message": message, "finish_reason": body}], "created": usage},
        {"choices": [{"message": {"content": message, "refusal": body}}], "id": choice},
        {"error": {"code": body, "message": message}},
    ):
        assert outcome(record) in REASONS | {"read"}


def outcome(record: Any) -> str:
    """What became of a reply: read, or the reason why not."""
    try:
        completion = read_completion(orjson.dumps(record), "application/json")
    except ReplyError as error:
        return decide(error, SENT).reason
    return "read" if completion.content.strip() else "nothing was read"


def test_backoff_grows_to_its_bound() -> None:
    """Between zero and base times two to the failures, never above the most."""
    for failures in range(40):
        waits = [backoff(failures, base=0.5, most=10.0) for _ in range(200)]
        assert 0 <= min(waits) <= max(waits) <= min(10.0, 0.5 * 2**failures)
    assert max(waits) > 5
