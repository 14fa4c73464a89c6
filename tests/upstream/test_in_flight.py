from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.core.errors import Stopped
from tasks.upstream.in_flight import START, InFlight


def nothing() -> None:
    """No reason to leave."""


class Endpoint:
    """Answers each call after the others that are asked at once have come too, or alone."""

    def __init__(self, together: int) -> None:
        self.most = self.now = 0
        self._together = threading.Barrier(together)
        self._lock = threading.Lock()

    def answer(self) -> None:
        """Count the call among those under way, until as many have come as answer together."""
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self._together.wait(20)
        with self._lock:
            self.now -= 1


def work(places: InFlight, step: Callable[[], None], calls: int, threads: int) -> None:
    """Make calls from threads, each in its place."""

    def call(_: int) -> None:
        with places.place(nothing) as place:
            step()
            place.answered = True

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, range(calls)))


def test_no_more_calls_than_places() -> None:
    """Many threads, but never more calls under way than there are places."""
    endpoint, places = Endpoint(4), InFlight(4)
    work(places, endpoint.answer, 80, 32)
    assert endpoint.most == places.limit == 4


def test_places_double_where_all_wait_and_latency_holds() -> None:
    """An endpoint that answers a roomful at a time gets more of them, up to the bound."""
    places = InFlight(4 * START)
    latency = threading.Event()
    work(places, lambda: latency.wait(0.02) and None, 60 * START, 8 * START)
    assert places.limit > START


def test_idle_places_do_not_multiply() -> None:
    """One caller at a time never waits, so there is nothing to grow for."""
    places = InFlight(512)
    work(places, nothing, 10 * START, 1)
    assert places.limit == START


def test_overload_takes_places_once_a_round() -> None:
    """However many calls of a round are refused, it is one overload, and the bound holds after it."""
    places = InFlight(10)
    for _ in range(5):
        places.overload()
    assert places.limit == 7
    endpoint = Endpoint(1)
    work(places, endpoint.answer, 30, 20)
    assert endpoint.most <= 10
    held = [places.place(nothing) for _ in range(places.limit)]
    for one in held:
        one.__enter__()
    assert not places._free.acquire(blocking=False)
    for one in held:
        one.__exit__(None, None, None)


def test_a_stopped_run_gives_its_place_on() -> None:
    """Who finds the run stopped leaves without a call, and the next in line gets to know as well."""
    places = InFlight(1)

    def stopped() -> None:
        raise Stopped("stop")  # noqa: EM101

    for _ in range(3):
        with pytest.raises(Stopped), places.place(stopped):
            pass
    work(places, nothing, 3, 3)
