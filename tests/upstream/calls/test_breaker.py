"""The circuit breaker: opens at its threshold, lets one probe through, closes on any answer."""

from __future__ import annotations

import threading
import time

import pytest

from tasks.core.errors import CircuitOpen
from tasks.upstream.calls.breaker import Breakers
from tests.processes import await_threads
from tests.runs import await_condition

URL = "http://x.test/v1"


def opened(**options: float) -> Breakers:
    """A breaker that has just opened."""
    breakers = Breakers(threshold=3, **options)
    for _ in range(3):
        breakers.report(URL, alive=False)
    return breakers


def test_it_opens_at_the_threshold_only() -> None:
    """Two failures in a row are not enough, an answer in between starts the count anew."""
    breakers = Breakers(threshold=3)
    for alive in (False, False, True, False, False):
        breakers.report(URL, alive=alive)
        assert breakers.enter(URL)
    breakers.report(URL, alive=False)
    assert not breakers.enter(URL)


def test_one_probe_at_a_time() -> None:
    """After the cooldown one of twenty threads gets through; its success lets all others go."""
    breakers = opened(cooldown=0.1)
    entered: list[float] = []
    first = threading.Event()

    def call() -> None:
        while True:
            breakers.wait([URL])
            if breakers.enter(URL):
                break
        entered.append(time.monotonic())
        if len(entered) == 1:
            first.wait(60)
            breakers.report(URL, alive=True)

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    await_condition(lambda: bool(entered), "one is through")
    assert len(entered) == 1
    first.set()
    await_threads(threads)
    assert len(entered) == 20
    assert breakers.statistics()[URL] == {
        "state": "closed",
        "failures": 0,
        "openings": 1,
        "probes": 1,
    }


def test_a_probe_that_fails_doubles_the_cooldown() -> None:
    """0.05, 0.1, 0.2 s: each probe waits longer than the one before."""
    breakers = opened(cooldown=0.05, max_cooldown=0.2, give_up_after=60)
    began = time.monotonic()
    for _ in range(3):
        breakers.wait([URL])
        assert breakers.enter(URL)
        breakers.report(URL, alive=False)
    assert time.monotonic() - began >= 0.05 + 0.1 + 0.2
    assert breakers.statistics()[URL]["probes"] == 3


def test_a_probe_without_an_outcome_makes_room_for_another() -> None:
    """A probe that was never sent does not block the endpoint."""
    breakers = opened(cooldown=0.0)
    assert breakers.enter(URL)
    assert not breakers.enter(URL)
    breakers.report(URL, alive=None)
    assert breakers.enter(URL)


def test_it_gives_up_but_still_probes() -> None:
    """After `give_up_after` waiting calls end; the next due probe may try, and can bring it back."""
    breakers = opened(cooldown=0.3, give_up_after=0.1)
    with pytest.raises(CircuitOpen, match="start the run again"):
        breakers.wait([URL])
    await_condition(lambda: breakers.enter(URL), "the next probe is due")
    breakers.report(URL, alive=True)
    assert breakers.wait([URL]) == set()


def test_a_stop_ends_the_wait() -> None:
    """Within the poll of a quarter second, long before the cooldown."""
    breakers, stop = opened(cooldown=60), threading.Event()
    stop.set()
    assert breakers.wait([URL], stop) == {URL}


def test_endpoints_are_apart() -> None:
    """One is open, the other is not concerned."""
    breakers = opened(cooldown=60)
    assert breakers.wait([URL, "http://y.test/v1"]) == {URL}
    assert breakers.enter("http://y.test/v1")
