"""Each fault of the sandbox gets its decision: retried or not, under a stable reason."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from deployments.sandbox import Fault, Sandbox
from tasks.core.calls import Request
from tasks.core.errors import CallFailed, NoKeysLeft
from tasks.upstream.calls.call_context import CallLimits
from tasks.upstream.calls.caller import Caller

Ask = Callable[..., Request]
OpenCaller = Callable[..., Caller]

QUICK = CallLimits(
    timeout=0.6, connect_timeout=1, stream_idle_timeout=0.4, backoff=0.01, max_backoff=0.02
)

TRANSIENT = {
    Fault.RESET_BEFORE: "reset",
    Fault.RESET_AFTER: "reset",
    Fault.RESET_MID: "reset",
    Fault.HANG: "timeout",
    Fault.STALL: "timeout",
    Fault.TRUNCATED: "bad_reply",
    Fault.STATUS_500: "server_error",
    Fault.STATUS_502: "server_error",
    Fault.STATUS_503: "overloaded",
    Fault.STATUS_529: "overloaded",
    Fault.ECHO_KEY_500: "server_error",
    Fault.WRONG_TYPE: "bad_reply",
    Fault.ERROR_BODY: "bad_reply",
    Fault.EMPTY_CHOICES: "bad_reply",
    Fault.NULL_CONTENT: "empty_reply",
    Fault.JSON_VALIDATE: "bad_reply",
    Fault.CAPACITY: "overloaded",
    Fault.BROKEN_OFF: "stream_cut",
}
TWICE = {Fault.HUGE: "too_large", Fault.REFUSAL: "refusal"}
FINAL = {
    Fault.STATUS_400: "bad_request",
    Fault.CONTEXT_LENGTH: "context_length",
    Fault.CONTENT_POLICY: "content_filter",
    Fault.CONTENT_FILTER: "content_filter",
    Fault.REASONING_SPENT: "truncated",
}
APART = {
    Fault.STATUS_429,
    Fault.RESPONSE_FORMAT,
    Fault.MODEL_DENIED,
    Fault.BUDGET_HOLD,
    Fault.FLEX_UNAVAILABLE,
}
REFUSED_KEY = {
    Fault.STATUS_401: "unauthorized",
    Fault.ECHO_KEY: "unauthorized",
    Fault.STATUS_402: "insufficient_quota",
    Fault.STATUS_403: "forbidden",
    Fault.INSUFFICIENT_QUOTA: "insufficient_quota",
}
ANSWERED = {
    Fault.LENGTH,
    Fault.BROKEN_JSON,
    Fault.PROSE,
    Fault.FENCED,
    Fault.TRAILING_COMMAS,
}
STREAMED = {
    **TRANSIENT,
    Fault.RESET_MID: "stream_cut",
    Fault.TRUNCATED: "stream_cut",
}


def test_every_fault_of_the_sandbox_is_covered() -> None:
    """No fault is without an expectation."""
    covered = {*TRANSIENT, *TWICE, *FINAL, *REFUSED_KEY, *ANSWERED, *APART}
    assert covered == set(Fault)


@pytest.mark.parametrize("fault", TRANSIENT)
def test_transient_faults_are_retried_and_end_well(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask, fault: Fault
) -> None:
    """Two faulty attempts, then a reply, which says that it took three."""
    sandbox.control(script=[{"fault": fault, "times": 2}])
    caller = open_call(limits=QUICK)
    reply = caller.call(ask("transient"))
    assert reply.attempts == 3
    assert caller.statistics()["calls"]["failed_attempts"] == {TRANSIENT[fault]: 2}
    assert len(sandbox.log()) == 3


def test_no_room_in_the_flex_tier_is_no_rate_limit(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask
) -> None:
    """A flex call is tried again soon; a standard one never meets it."""
    sandbox.control(script=[{"fault": Fault.FLEX_UNAVAILABLE, "times": 2}])
    caller = open_call(limits=QUICK)
    assert caller.call(ask("standard")).attempts == 1
    assert caller.call(ask("flex", service_tier="flex")).attempts == 3
    assert caller.statistics()["calls"]["failed_attempts"] == {"overloaded": 2}


@pytest.mark.parametrize("fault", [*TRANSIENT, *TWICE])
def test_transient_faults_that_stay_end_with_their_reason(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask, fault: Fault
) -> None:
    """Three attempts (two where the reply itself was paid for), then CallFailed that tells all."""
    sandbox.control(script=[{"fault": fault}])
    with pytest.raises(CallFailed) as caught:
        open_call(limits=QUICK).call(ask("stays"))
    attempts = 2 if fault in TWICE else 3
    error = caught.value
    assert (error.code, error.attempts) == ({**TRANSIENT, **TWICE}[fault], attempts)
    rows = sandbox.log()
    assert len(rows) == attempts
    assert error.trace_id == rows[-1]["trace_id"]
    assert error.app_id is not None
    assert error.app_id.startswith("a")
    assert error.endpoint == sandbox.base_url
    assert len(str(error)) < 400


@pytest.mark.parametrize("fault", STREAMED)
def test_streams_have_the_same_reasons(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask, fault: Fault
) -> None:
    """A stream that breaks is a cut stream; the rest fails as a plain call does."""
    sandbox.control(script=[{"fault": fault, "times": 1}])
    caller = open_call(limits=QUICK)
    reply = caller.call(ask("streamed", stream=True))
    assert reply.attempts == 2
    assert caller.statistics()["calls"]["failed_attempts"] == {STREAMED[fault]: 1}


@pytest.mark.parametrize("fault", FINAL)
def test_final_faults_are_not_retried(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask, fault: Fault
) -> None:
    """One attempt; nothing is journaled, so the next run asks again."""
    sandbox.control(script=[{"fault": fault, "times": 1}])
    caller = open_call(limits=QUICK)
    request = ask("final", response_format={"type": "json_object"})
    with pytest.raises(CallFailed) as caught:
        caller.call(request)
    assert (caught.value.code, caught.value.attempts) == (FINAL[fault], 1)
    assert not caller.call(request).journaled


def test_a_refused_reply_format_is_left_out(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask
) -> None:
    """It costs one request, and the next question is asked without the format at once."""
    sandbox.control(models={"m": {"response_format": "none"}})
    caller = open_call(limits=QUICK)
    assert caller.call(ask("f", response_format={"type": "json_object"})).attempts == 2
    assert caller.call(ask("g", response_format={"type": "json_object"})).attempts == 1
    assert list(caller.statistics()["adapted"].values()) == [
        "response_format left out: the endpoint refuses it"
    ]


def test_a_bad_request_about_formats_needs_a_format_in_the_request(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask
) -> None:
    """Without response_format there is nothing to fall back from."""
    sandbox.control(script=[{"fault": Fault.RESPONSE_FORMAT}])
    with pytest.raises(CallFailed) as caught:
        open_call(limits=QUICK).call(ask("no format"))
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("fault", REFUSED_KEY)
def test_a_refused_key_is_left_and_another_takes_over(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask, fault: Fault
) -> None:
    """More refusals than a call has attempts do not fail it while a key is left."""
    sandbox.control(script=[{"fault": fault, "key": f"a{n}"} for n in range(3)], keys=_keys())
    caller = open_call(limits=QUICK)
    assert caller.call(ask("one key left")).app_id == "a3"
    assert set(caller.statistics()["calls"].get("failed_attempts", {})) <= {REFUSED_KEY[fault]}
    sandbox.control(script=[{"fault": fault}])
    for text in ("suspected", "again"):
        with suppress(CallFailed, NoKeysLeft):
            caller.call(ask(text))
    with pytest.raises(NoKeysLeft, match=f"a3: {REFUSED_KEY[fault]}: HTTP 4"):
        caller.call(ask("no key left"))


@pytest.mark.parametrize("fault", sorted(ANSWERED))
def test_odd_content_is_the_callers_matter(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask, fault: Fault
) -> None:
    """A reply with odd text in it is a reply, was paid for, and is journaled."""
    sandbox.control(script=[{"fault": fault}])
    caller = open_call(limits=QUICK)
    reply = caller.call(ask("odd"))
    assert reply.attempts == 1
    assert reply.finish_reason == ("length" if fault is Fault.LENGTH else "stop")
    assert caller.call(ask("odd")).journaled


def test_rate_limits_do_not_use_up_attempts(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask
) -> None:
    """Five 429s in a row, then the reply; after `max_refused` of them the call is over."""
    sandbox.control(script=[{"fault": Fault.STATUS_429, "times": 5}], fault_wait=0.05)
    caller = open_call(limits=QUICK)
    assert caller.call(ask("limited")).attempts == 6
    sandbox.control(script=[{"fault": Fault.STATUS_429}])
    caller = open_call(limits=replace(QUICK, max_refused=4))
    with pytest.raises(CallFailed) as caught:
        caller.call(ask("limited for good"))
    assert (caught.value.code, caught.value.attempts) == ("rate_limited", 4)


def _keys() -> dict[str, dict[str, str]]:
    return {f"a{n}": {"key": f"plain-a{n}"} for n in range(4)}
