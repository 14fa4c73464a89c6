"""The sliding window against its definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployments.sandbox.meter import KeyMeter, SlidingWindow
from tasks.core.quotas import Window

ARRIVALS = st.lists(st.integers(0, 400), min_size=1, max_size=60).map(sorted)


def test_entry_leaves_exactly_at_the_edge() -> None:
    """What was accepted at A - W is out at A, and in one tick before."""
    window = SlidingWindow(Window(1, 60.0))
    window.take(100.0)
    assert not window.admits(159.999)
    assert window.admits(160.0)


@given(arrivals=ARRIVALS, limit=st.integers(1, 5), seconds=st.integers(1, 90))
def test_every_decision_follows_the_definition(
    arrivals: list[int], limit: int, seconds: int
) -> None:
    """Accepted iff fewer than `limit` accepted arrivals lie in (A - W, A]."""
    meter = KeyMeter()
    meter.configure([Window(limit, float(seconds))], [])
    accepted: list[int] = []
    for at in arrivals:
        expected = sum(at - seconds < other <= at for other in accepted) < limit
        ruling = meter.arrive(float(at), 0, enforce=True, count_refused=False)
        assert (ruling.wait is None) is expected
        accepted += [at] if expected else []
    peak = max(sum(a - seconds < b <= a for b in accepted) for a in accepted)
    assert meter.requests[0].peak == peak


@given(arrivals=ARRIVALS, limit=st.integers(1, 4))
def test_the_wait_is_the_shortest_that_helps(arrivals: list[int], limit: int) -> None:
    """A refused arrival fits after the wait it is told, and not a tick earlier."""
    window = SlidingWindow(Window(limit, 50.0))
    for at in arrivals:
        if window.admits(float(at)):
            window.take(float(at))
        else:
            wait = window.wait(float(at))
            inside = [use.at for use in window.uses if use.at > at + wait - 50.0]
            earlier = [use.at for use in window.uses if use.at > at + wait - 1 - 50.0]
            assert len(inside) < limit <= len(earlier)


def test_all_windows_hold_at_once() -> None:
    """The tighter of two windows refuses, and its wait is the longer one."""
    meter = KeyMeter()
    meter.configure([Window(3, 60.0), Window(1, 1.0)], [])
    waits = [
        meter.arrive(at, 0, enforce=True, count_refused=False).wait
        for at in (0.0, 0.5, 1.0, 2.0, 3.0)
    ]
    assert waits == [None, 0.5, None, None, 57.0]


def test_tokens_are_reserved_and_settled() -> None:
    """A reply that used fewer tokens than estimated gives the rest back."""
    meter = KeyMeter()
    meter.configure([], [Window(100, 60.0)])
    first = meter.arrive(0.0, 80, enforce=True, count_refused=False)
    assert meter.arrive(1.0, 30, enforce=True, count_refused=False).wait == 59.0
    first.settle(50)
    assert meter.arrive(2.0, 30, enforce=True, count_refused=False).wait is None
    assert meter.summary()["token_windows"] == [{"window": "100/60s", "peak_accepted": 80}]


def test_settling_after_the_window_changes_nothing() -> None:
    """A late settlement does not reach into a window that its use has left."""
    window = SlidingWindow(Window(10, 5.0))
    use = window.take(0.0, 4)
    window.take(6.0, 3)
    window.settle(use, 9)
    assert window.used == 3


def test_refused_arrivals_count_when_told() -> None:
    """With `count_refused` a client that hammers keeps itself out."""
    meter = KeyMeter()
    meter.configure([Window(1, 10.0)], [])
    waits = [
        meter.arrive(at, 0, enforce=True, count_refused=True).wait is None
        for at in (0.0, 9.0, 11.0, 21.0)
    ]
    assert waits == [True, False, False, True]
    assert meter.summary()["windows"][0]["peak_accepted"] == 1


def test_measuring_without_enforcing() -> None:
    """With `enforce` off nothing is refused, and the peak tells what happened."""
    meter = KeyMeter()
    meter.configure([Window(1, 10.0)], [])
    for at in (0.0, 1.0, 2.0):
        assert meter.arrive(at, 0, enforce=False, count_refused=False).wait is None
    assert meter.summary()["windows"][0]["peak_accepted"] == 3


def test_a_changed_quota_remembers_what_was_used() -> None:
    """Lowering the limit in mid-window counts the sends made under the old one."""
    meter = KeyMeter()
    meter.configure([Window(3, 60.0)], [])
    meter.arrive(0.0, 0, enforce=True, count_refused=False)
    meter.arrive(1.0, 0, enforce=True, count_refused=False)
    meter.configure([Window(2, 60.0)], [])
    assert meter.arrive(2.0, 0, enforce=True, count_refused=False).wait == 58.0
