"""Leases and signs of life: what lets a shard work far from its run, and what ends it."""

from __future__ import annotations

import pytest

from flows.shards.remote.heartbeat import Sign
from flows.shards.remote.lease import Lease, LeaseJudge
from flows.shards.remote.staleness import Stillness


class Clock:
    """Seconds that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def judge(clock: Clock) -> LeaseJudge:
    """Of the attempt "a", which bears ten seconds of mute_shard_console."""
    return LeaseJudge("a", Stillness(10, clock))


def test_change_is_life_whatever_its_value(clock: Clock) -> None:
    """Only differences count: numbers may fall as well, as after a restart of who counts."""
    still = Stillness(10, clock)

    assert not still.look(5)
    clock.now = 9
    assert not still.look(3)
    clock.now = 18
    assert not still.look(3)
    clock.now = 20
    assert still.look(3)
    assert not still.look(4)


def test_nothing_to_see_is_no_change(clock: Clock) -> None:
    """Storage that cannot be read does not prove that anybody lives."""
    still = Stillness(10, clock)

    assert not still.look(None)
    clock.now = 11
    assert still.look(None)


def test_a_renewed_lease_lasts(judge: LeaseJudge, clock: Clock) -> None:
    """As long as it changes, the attempt goes on."""
    for beat in range(100):
        clock.now += 9
        assert judge.verdict(Lease("a", beat)) is None


def test_another_attempt_ends_this_one(judge: LeaseJudge) -> None:
    """Two never work on one shard for longer than a look."""
    assert judge.verdict(Lease("b", 1)) == "another attempt works on this shard"


def test_stop_is_obeyed_at_once(judge: LeaseJudge) -> None:
    """A stopped run makes no new call."""
    assert judge.verdict(Lease("a", 1, stop=True)) == "the run is being stopped"


@pytest.mark.parametrize("lease", [None, Lease("a", 1)])
def test_silence_ends_the_attempt(judge: LeaseJudge, clock: Clock, lease: Lease | None) -> None:
    """The parent died, or storage is away: no shard outlives its run."""
    assert judge.verdict(lease) is None
    clock.now = 10.5
    assert judge.verdict(lease) == "the run has given no sign of life"


def test_what_is_not_there_is_nothing() -> None:
    """Before the first renewal and the first sign."""
    assert Lease.from_json(None) is None
    assert Sign.from_json(None) is None
    assert Lease.from_json({"attempt": "a", "beat": 2, "stop": True}) == Lease("a", 2, stop=True)


def test_attempts_sign_apart() -> None:
    """An attempt that is late does not write over the signs of its successor."""
    assert Sign.name("a") != Sign.name("b")
