"""One works, the others wait: results and errors are shared, accidents are not."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.core.errors import CallFailed, Stopped
from tasks.upstream.calls.singleflight import SingleFlight
from tests.runs import await_condition


def test_one_of_many_works() -> None:
    """Twenty threads, one result, one of them not shared."""
    flights: SingleFlight[str] = SingleFlight()
    go, done = threading.Event(), []

    def work() -> str:
        go.wait(60)
        done.append(1)
        return "result"

    with ThreadPoolExecutor(20) as executor:
        futures = [executor.submit(flights.run, "key", work) for _ in range(20)]
        await_condition(lambda: flights.shared == 19, "nineteen wait")
        go.set()
        results = [future.result(30) for future in futures]
    assert len(done) == 1
    assert sorted(shared for _, shared in results) == [False] + [True] * 19
    assert flights.run("key", lambda: "anew") == ("anew", False)


def test_an_error_is_shared_as_a_copy() -> None:
    """The follower's error has the same facts and is another object."""
    flights: SingleFlight[str] = SingleFlight()
    error = CallFailed("no", code="timeout", attempts=3, queue=1.5, app_id="a", trace_id="t")

    def work() -> str:
        await_condition(lambda: bool(flights.shared), "another one waits")
        raise error

    with ThreadPoolExecutor(2) as executor:
        leader = executor.submit(flights.run, "key", work)
        await_condition(lambda: bool(flights._flights), "it works")
        with pytest.raises(CallFailed) as caught:
            flights.run("key", work)
    assert leader.exception() is error
    assert caught.value is not error
    assert caught.value.details() == error.details()
    assert (str(caught.value), caught.value.code) == ("no", "timeout")


def test_an_accident_passes_the_work_on() -> None:
    """A bug ends the thread that has it; the next in line does the work itself."""
    flights: SingleFlight[str] = SingleFlight()

    def accident() -> str:
        await_condition(lambda: bool(flights.shared), "another one waits")
        raise ZeroDivisionError

    with ThreadPoolExecutor(2) as executor:
        leader = executor.submit(flights.run, "key", accident)
        await_condition(lambda: bool(flights._flights), "it works")
        assert flights.run("key", lambda: "second") == ("second", False)
    assert isinstance(leader.exception(), ZeroDivisionError)


def test_a_waiter_may_leave_early() -> None:
    """`pause` raises: the waiter goes, the work goes on."""
    flights: SingleFlight[str] = SingleFlight()
    go = threading.Event()

    def leave() -> None:
        msg = "stop"
        raise Stopped(msg)

    with ThreadPoolExecutor(1) as executor:
        leader = executor.submit(flights.run, "key", lambda: str(go.wait(60)))
        await_condition(lambda: bool(flights._flights), "it works")
        with pytest.raises(Stopped):
            flights.run("key", lambda: "never", pause=leave)
        go.set()
        assert leader.result(30) == ("True", False)
