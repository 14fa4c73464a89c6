"""Leases and heartbeats: what lets a shard work far from its run, and what ends it."""

from __future__ import annotations

import pytest

from flows.shards.remote.lease import Heartbeat, Lease, LeaseMonitor, StalenessDetector


class Clock:
    """Seconds that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(clock: Clock) -> LeaseMonitor:
    """Of the attempt "a", which bears ten seconds of silence."""
    return LeaseMonitor("a", StalenessDetector(10, clock))


def test_change_is_life_whatever_its_value(clock: Clock) -> None:
    """Only differences count: numbers may fall as well, as after a restart of who counts."""
    staleness = StalenessDetector(10, clock)

    assert not staleness.is_stale(5)
    clock.now = 9
    assert not staleness.is_stale(3)
    clock.now = 18
    assert not staleness.is_stale(3)
    clock.now = 20
    assert staleness.is_stale(3)
    assert not staleness.is_stale(4)


def test_nothing_to_see_is_no_change(clock: Clock) -> None:
    """Storage that cannot be read does not prove that anybody lives."""
    staleness = StalenessDetector(10, clock)

    assert not staleness.is_stale(None)
    clock.now = 11
    assert staleness.is_stale(None)


def test_a_renewed_lease_lasts(monitor: LeaseMonitor, clock: Clock) -> None:
    """As long as it changes, the attempt goes on."""
    for beat in range(100):
        clock.now += 9
        assert monitor.why_over(Lease("a", beat)) is None


def test_another_attempt_ends_this_one(monitor: LeaseMonitor) -> None:
    """Two never work on one shard for longer than a look."""
    assert monitor.why_over(Lease("b", 1)) == "another attempt works on this shard"


def test_stop_is_obeyed_at_once(monitor: LeaseMonitor) -> None:
    """A stopped run makes no new call."""
    assert monitor.why_over(Lease("a", 1, stop=True)) == "the run is being stopped"


@pytest.mark.parametrize("lease", [None, Lease("a", 1)])
def test_silence_ends_the_attempt(monitor: LeaseMonitor, clock: Clock, lease: Lease | None) -> None:
    """The parent died, or storage is away: no shard outlives its run."""
    assert monitor.why_over(lease) is None
    clock.now = 10.5
    assert monitor.why_over(lease) == "the run has given no sign of life"


def test_what_is_not_there_is_nothing() -> None:
    """Before the first renewal and the first heartbeat."""
    assert Lease.from_json(None) is None
    assert Heartbeat.from_json(None) is None
    assert Lease.from_json({"attempt": "a", "beat": 2, "stop": True}) == Lease("a", 2, stop=True)


def test_attempts_have_heartbeats_apart() -> None:
    """An attempt that is late does not write over the heartbeats of its successor."""
    assert Heartbeat.name("a") != Heartbeat.name("b")
