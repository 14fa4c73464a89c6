"""The path of a call on real servers, journals and ledgers: what is paid, by whom, and how often."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from deployments.sandbox import Fault, Sandbox
from tasks.core.calls import Reply, Request
from tasks.core.errors import CallFailed, CircuitOpen, NoKeysLeft, Stopped
from tasks.core.quotas import AppId, Window
from tasks.upstream.calls.call_context import CallLimits
from tasks.upstream.calls.caller import Caller
from tasks.upstream.calls.scrub import Scrubber, ScrubFilter
from tests.processes import await_threads, next_line, started

Ask = Callable[..., Request]
OpenCaller = Callable[..., Caller]

QUICK = CallLimits(
    timeout=5, connect_timeout=2, stream_idle_timeout=2, backoff=0.01, max_backoff=0.05
)

ASKER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pydantic import SecretStr
from tasks.core.calls import Request
from tasks.core.quotas import AppId
from tasks.upstream.calls.caller import open_caller

base_url, state = sys.argv[1:]
app_ids = [AppId("a0", base_url), AppId("a1", base_url)]
keys = {app.alias: SecretStr("k" + app.alias) for app in app_ids}
requests = [Request("m", ({"role": "user", "content": f"twin {n % 40}"},)) for n in range(80)]
with open_caller(app_ids, keys, journal=state + "/j", ledger=state + "/l") as caller:
    sys.stdout.write("ready" + chr(10))
    sys.stdout.flush()
    sys.stdin.readline()
    with ThreadPoolExecutor(16) as executor:
        print(sum(reply.journaled for reply in executor.map(caller.call, requests)))
"""


def test_a_reply_tells_where_it_came_from(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask
) -> None:
    """All fields are filled from the wire; the trace id is the one that the server saw."""
    sandbox.control(latency=0.05)
    reply = open_call().call(ask("whence"))
    (row,) = sandbox.log()
    assert reply.trace_id == row["trace_id"]
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (
        row["prompt_tokens"],
        row["completion_tokens"],
    )
    assert 0.05 <= reply.latency < 2
    assert reply.queue < reply.latency
    assert abs(reply.created - time.time()) < 60
    assert (reply.model, reply.finish_reason, reply.attempts) == ("m", "stop", 1)
    assert reply.endpoint == sandbox.base_url
    assert reply.request_id
    assert not reply.journaled
    assert reply.first_token is None


def test_a_stream_is_put_together(sandbox: Sandbox, open_call: OpenCaller, ask: Ask) -> None:
    """The same content as in one piece, with usage, and a first token before the last."""
    plain = open_call().call(ask("streamed or not", temperature=0))
    sandbox.control(latency=0.2)
    stream = open_call().call(ask("streamed or not", temperature=0, seed=1, stream=True))
    assert stream.content == plain.content
    assert stream.usage == plain.usage
    assert stream.first_token is not None
    assert 0 < stream.first_token < stream.latency


def test_streams_share_connections(sandbox: Sandbox, open_call: OpenCaller, ask: Ask) -> None:
    """A stream is read to its end, so the next call takes the same connection."""
    before = sandbox.stats()["connections_opened"]
    caller = open_call(1)
    for n in range(5):
        caller.call(ask(f"in turn {n}", stream=n % 2 == 0))
    assert sandbox.stats()["connections_opened"] - before == 1
    assert caller.statistics()["clients"]["connections"] == 1


def test_twenty_callers_open_twenty_connections(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask
) -> None:
    """20 threads x 100 calls on 4 keys without quota: at most 20 connections, 4 clients."""
    before = sandbox.stats()["connections_opened"]
    caller = open_call(4)
    requests = [ask(f"many {n}") for n in range(2000)]
    with ThreadPoolExecutor(20) as executor:
        replies = list(executor.map(caller.call, requests))
    clients = caller.statistics()["clients"]
    assert sandbox.stats()["connections_opened"] - before == clients["connections"] <= 20
    assert (clients["created"], clients["reused"], clients["replaced"]) == (4, 1996, 0)
    assert len({reply.trace_id for reply in replies}) == 2000
    assert {reply.app_id for reply in replies} == {"a0", "a1", "a2", "a3"}


def test_the_same_question_is_paid_for_once(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask
) -> None:
    """Ten threads ask at once, others later, another caller after that: one request."""
    sandbox.control(latency=0.1)
    caller = open_call()
    with ThreadPoolExecutor(10) as executor:
        replies = list(executor.map(caller.call, [ask("once")] * 10))
    assert len({reply.trace_id for reply in replies}) == 1
    assert sum(not reply.journaled for reply in replies) == 1
    assert caller.call(ask("once")).journaled
    assert open_call(run_id="another").call(ask("once")).journaled
    assert sandbox.stats()["requests"] == 1
    assert not caller.call(ask("once"), fresh_since=time.time()).journaled


def test_two_processes_pay_once(sandbox: Sandbox, tmp_path: Path) -> None:
    """Two processes ask the same 40 questions at the same time; the server sees 40."""
    sandbox.control(latency=0.05)
    command = [sys.executable, "-c", ASKER, sandbox.base_url, str(tmp_path)]
    with ExitStack() as stack:
        askers = [stack.enter_context(started(command, stdin=subprocess.PIPE)) for _ in range(2)]
        assert [next_line(asker) for asker in askers] == ["ready", "ready"]
        for asker in askers:
            assert asker.stdin is not None
            asker.stdin.write("go\n")
            asker.stdin.flush()
        journaled = sum(int(asker.communicate(timeout=30)[0]) for asker in askers)
        assert [asker.returncode for asker in askers] == [0, 0]
    assert (sandbox.stats()["requests"], journaled) == (40, 120)


def test_a_failure_is_shared_and_not_kept(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask
) -> None:
    """Who waits for a question that fails gets the same reason; the next one asks anew."""
    sandbox.control(latency=0.2, script=[{"fault": Fault.STATUS_400, "times": 1}])
    caller = open_call()

    def outcome(_: int) -> str:
        try:
            return caller.call(ask("shared")).finish_reason or ""
        except CallFailed as error:
            return error.code

    with ThreadPoolExecutor(4) as executor:
        assert set(executor.map(outcome, range(4))) == {"bad_request"}
    assert sandbox.stats()["requests"] == 1
    assert outcome(0) == "stop"


def test_quota_waits_are_not_latency(sandbox: Sandbox, open_call: OpenCaller, ask: Ask) -> None:
    """Four calls on two per second: no 429, and the wait of the later ones is in `queue`."""
    sandbox.control(quota="2/1s")
    app_ids = [AppId("a0", sandbox.base_url, (Window(2, 1.0),))]
    caller = open_call(1, app_ids=app_ids, margin=0.1)
    with ThreadPoolExecutor(4) as executor:
        replies = list(executor.map(caller.call, [ask(f"queued {n}") for n in range(4)]))
    queues = sorted(reply.queue for reply in replies)
    assert queues[1] < 0.5
    assert queues[2] >= 1.0
    assert max(reply.latency for reply in replies) < 0.5
    assert sandbox.stats()["refused"] == 0


def test_stop_ends_waits_within_a_second(sandbox: Sandbox, open_call: OpenCaller, ask: Ask) -> None:
    """Calls that wait for quota or back off leave at once; the one in flight finishes and is kept."""
    sandbox.control(latency=0.5, script=[{"fault": Fault.STATUS_500, "match": "fails"}])
    stop = threading.Event()
    app_ids = [AppId("a0", sandbox.base_url, (Window(2, 60.0),))]
    slow = replace(QUICK, backoff=60.0, max_backoff=60.0)
    caller = open_call(1, app_ids=app_ids, stop=stop, limits=slow)
    outcomes: dict[str, Reply | Exception] = {}

    def call(text: str) -> None:
        try:
            outcomes[text] = caller.call(ask(text))
        except Stopped as error:
            outcomes[text] = error

    threads = [threading.Thread(target=call, args=(text,)) for text in ("fails", "good", "late")]
    threads[0].start()
    wait_until(lambda: sandbox.stats()["requests"] == 1)
    threads[1].start()
    wait_until(lambda: sandbox.stats()["requests"] == 2)
    threads[2].start()
    wait_until(lambda: caller.statistics()["calls"].get("failed_attempts") is not None)
    stop.set()
    began = time.monotonic()
    await_threads(threads)
    assert time.monotonic() - began < 1.5
    assert isinstance(outcomes["good"], Reply)
    assert isinstance(outcomes["fails"], Stopped)
    assert isinstance(outcomes["late"], Stopped)
    assert caller.call(ask("good")).journaled
    assert sandbox.stats()["requests"] == 2


def test_an_upstream_that_is_gone_costs_a_bounded_number_of_attempts(
    open_call: OpenCaller, ask: Ask
) -> None:
    """Nobody listens: all 300 calls end with CircuitOpen or their reason, few attempts are made."""
    caller = open_call(base_url="http://127.0.0.1:9/v1", give_up_after=1.0)
    began = time.monotonic()

    def outcome(n: int) -> str:
        try:
            caller.call(ask(f"gone {n}"))
        except (CircuitOpen, CallFailed) as error:
            return error.code
        return "ok"

    with ThreadPoolExecutor(16) as executor:
        outcomes = list(executor.map(outcome, range(300)))
    assert set(outcomes) <= {"circuit_open", "connect"}
    assert outcomes.count("circuit_open") > 250
    assert caller.statistics()["calls"]["attempts"] < 60
    assert time.monotonic() - began < 10


def test_calls_go_on_when_the_upstream_is_back(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask
) -> None:
    """The breaker opens after ten failures, a probe finds the endpoint alive, and no call has failed."""
    sandbox.control(script=[{"fault": Fault.STATUS_502, "times": 10}])
    caller = open_call(limits=replace(QUICK, max_attempts=12))
    replies = [caller.call(ask(f"back {n}")) for n in range(3)]
    assert [reply.attempts for reply in replies] == [11, 1, 1]
    assert caller.statistics()["breakers"] == {
        sandbox.base_url: {"state": "closed", "failures": 0, "openings": 1, "probes": 1}
    }


def test_another_endpoint_takes_over(sandbox: Sandbox, open_call: OpenCaller, ask: Ask) -> None:
    """One endpoint is gone, the other serves the model as well: everything is answered."""
    app_ids = [AppId("dead", "http://127.0.0.1:9/v1"), AppId("live", sandbox.base_url)]
    caller = open_call(
        app_ids=app_ids, keys={name: SecretStr(f"key-{name}") for name in ("dead", "live")}
    )
    with ThreadPoolExecutor(8) as executor:
        replies = list(executor.map(caller.call, [ask(f"over {n}") for n in range(100)]))
    assert {reply.app_id for reply in replies} == {"live"}
    assert caller.statistics()["calls"]["failed_attempts"]["connect"] < 40


@pytest.mark.parametrize("stream", [False, True])
def test_no_key_in_any_error_or_log(
    sandbox: Sandbox,
    open_call: OpenCaller,
    ask: Ask,
    caplog: pytest.LogCaptureFixture,
    stream: bool,
) -> None:
    """The server repeats the key in its errors; neither messages nor debug logs show any of it."""
    secret = "distinctive-0123456789-secret"
    caplog.set_level(logging.DEBUG)
    caplog.handler.addFilter(ScrubFilter(Scrubber([SecretStr(secret)])))
    caller = open_call(1, keys={"a0": SecretStr(secret)})
    sandbox.control(script=[{"fault": Fault.ECHO_KEY_500}])
    with pytest.raises(CallFailed) as failed:
        caller.call(ask("echo", stream=stream))
    sandbox.control(script=[{"fault": Fault.ECHO_KEY}])
    for text in ("echo", "echoed"):
        with pytest.raises((CallFailed, NoKeysLeft)):
            caller.call(ask(text, stream=stream))
    with pytest.raises(NoKeysLeft) as none_left:
        caller.call(ask("echo", stream=stream))
    shown = [str(failed.value), repr(none_left.value), repr(caller.statistics()), caplog.text]
    assert "***" in shown[0]
    assert all("0123456789" not in text for text in shown)


def test_twenty_percent_faults_end_complete(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask
) -> None:
    """Mixed faults on every fifth request: 500 calls, all answered, each billed reply kept once."""
    kinds = (
        "reset_before reset_after reset_mid truncated status_500 status_503 status_429 wrong_type"
    )
    rates = dict.fromkeys(kinds.split(), 0.02) | {"empty_choices": 0.02, "null_content": 0.02}
    sandbox.control(faults=rates, fault_wait=0.05)
    caller = open_call(4, limits=replace(QUICK, max_attempts=8))
    with ThreadPoolExecutor(32) as executor:
        replies = list(executor.map(caller.call, [ask(f"mixed {n}") for n in range(500)]))
    assert len({reply.trace_id for reply in replies}) == 500
    stats = sandbox.stats()
    assert stats["duplicates"] == 0
    assert stats["faults"].keys() == rates.keys()


def wait_until(condition: Callable[[], bool]) -> None:
    """Until it holds; at most 10 s."""
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("not reached in 10 s")


def test_the_instant_of_a_send_is_our_own(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask
) -> None:
    """`started` is when the first byte was written by our clock, whatever the server's says."""
    sandbox.control(latency=0.3)
    before = time.time()
    reply = open_call().call(ask("when"))
    assert reply.started is not None
    assert before <= reply.started <= time.time() - 0.3
