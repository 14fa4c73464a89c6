"""When the allocator lets the next call go, and with which key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.core.quotas import AppId, Window
from tasks.upstream.quota.allocator import Allocator
from tasks.upstream.quota.key_log import GONE, STARTED, Reservation
from tasks.upstream.quota.reservations import SlotRequest


def _allocator(*app_ids: AppId, owner: int = 1) -> Allocator:
    return Allocator(app_ids, owner=owner, margin=0.5, grace=0.05, notice=0.2)


def _take(allocator: Allocator, count: int, now: float, **kw: object) -> list[Reservation]:
    reservations = [allocator.place(SlotRequest("m", **kw), now) for _ in range(count)]  # type: ignore[arg-type]
    return [reservation for reservation in reservations if reservation is not None]


def test_burst_then_one_window_and_margin_later() -> None:
    """Q go at once, the next q exactly a window and a margin after them."""
    allocator = _allocator(AppId("a", windows=(Window(3, 60.0),)))
    assert [reservation.at for reservation in _take(allocator, 7, 100.0)] == [100.0] * 3 + [
        160.5
    ] * 3 + [221.0]


def test_earliest_key_first_and_least_used_only_breaks_ties() -> None:
    """A used key that is free sooner goes before a fresh key that is held."""
    allocator = _allocator(*(AppId(a, windows=(Window(2, 10.0),)) for a in "ab"))
    assert [reservation.alias for reservation in _take(allocator, 4, 0.0)] == ["a", "b", "a", "b"]
    allocator.key_logs["b"].hold = 30.0
    allocator.key_logs["b"].touch(dirty=True)
    assert [reservation.alias for reservation in _take(allocator, 2, 1.0)] == ["a", "a"]


def test_pace_spreads_sends_evenly() -> None:
    """With `pace`, one request per window share instead of a burst."""
    allocator = _allocator(AppId("a", windows=(Window(3, 60.0),), pace=True))
    gaps = [reservation.at for reservation in _take(allocator, 4, 0.0)]
    assert gaps == pytest.approx([0.0, 60.5 / 3, 2 * 60.5 / 3, 60.5])


def test_token_quota_reserves_the_estimate_and_settles_with_usage() -> None:
    """A reply that used less than was reserved lets the next caller go earlier."""
    allocator = _allocator(AppId("a", token_windows=(Window(100, 10.0),)))
    first = allocator.place(SlotRequest("m", 80), 0.0)
    second = allocator.place(SlotRequest("m", 50), 0.0)
    assert first is not None
    assert second is not None
    assert second.at == 10.5
    assert allocator.start(first, 0.0)
    allocator.sent(first.ticket, 0.0)
    allocator.end(first.ticket, 40, 3.0)
    allocator.replan(3.0)
    assert second.at == 3.0


def test_request_larger_than_the_token_quota_goes_alone() -> None:
    """It waits for an empty window instead of for ever."""
    allocator = _allocator(AppId("a", token_windows=(Window(100, 10.0),)))
    assert [reservation.at for reservation in _take(allocator, 1, 0.0, tokens=10)] == [0.0]
    assert [reservation.at for reservation in _take(allocator, 1, 0.0, tokens=500)] == [10.5]


def test_unconfirmed_start_blocks_until_it_is_confirmed() -> None:
    """A process stopped between gate and write may still send: its slot counts as used now."""
    allocator = _allocator(AppId("a", windows=(Window(1, 10.0),)))
    first, second = _take(allocator, 2, 0.0)
    assert allocator.start(first, 0.0)
    assert not allocator.start(second, 11.0)
    assert second.at == pytest.approx(11.2)
    allocator.sent(first.ticket, 12.0)
    allocator.replan(12.0)
    assert second.at == 22.5
    assert allocator.start(second, 22.5)


def test_late_start_counts_from_its_true_instant() -> None:
    """Later than the grace: what follows on the key moves by the same time."""
    allocator = _allocator(AppId("a", windows=(Window(1, 10.0),)))
    first, second = _take(allocator, 2, 0.0)
    assert allocator.start(first, 0.04)
    assert (first.at, second.at) == (0.0, 10.5)
    allocator = _allocator(AppId("a", windows=(Window(1, 10.0),)))
    first, second = _take(allocator, 2, 0.0)
    assert allocator.start(first, 3.0)
    allocator.replan(3.0)
    assert (first.at, second.at) == (3.0, 13.5)


def test_reservation_not_used_in_time_is_free_for_others() -> None:
    """What another process reserved and did not start lapses, and its owner reserves again."""
    mine, theirs = (_allocator(AppId("a", windows=(Window(1, 10.0),)), owner=n) for n in (1, 2))
    (reservation,) = _take(theirs, 1, 0.0)
    mine.learn(replace(reservation))
    mine.last_ticket = theirs.last_ticket
    (next_use,) = _take(mine, 1, 0.0)
    assert next_use.at == 10.5
    mine.lapse(1.0, 0.5)
    mine.replan(1.0)
    assert next_use.at == 1.0
    gone = mine.changed[reservation.ticket]
    assert gone.state == GONE
    theirs.learn(replace(gone))
    assert len(theirs.lost) == 1
    assert not theirs.mine


def test_urgent_caller_takes_the_earliest_reservation_of_its_process() -> None:
    """A call that met a 429 goes first; the caller it overtakes gets the later slot."""
    allocator = _allocator(AppId("a", windows=(Window(1, 10.0),)))
    reservations = _take(allocator, 3, 0.0)
    urgent = SlotRequest("m", urgent=True)
    allocator.place(urgent, 0.0)
    assert allocator.mine[reservations[0].ticket] is urgent


def test_overtaking_caller_takes_its_tokens_along() -> None:
    """The slot may later move to a key that counts tokens: it must carry the caller's own."""
    allocator = _allocator(AppId("a", windows=(Window(1, 10.0),)))
    _take(allocator, 2, 0.0, tokens=5)
    late = allocator.place(SlotRequest("m", 50, urgent=True), 0.0)
    assert late is not None
    slots = {ticket: request.tokens for ticket, request in allocator.mine.items()}
    assert slots == {
        reservation.ticket: reservation.tokens for reservation in allocator.by_ticket.values()
    }
    assert sorted(reservation.tokens for reservation in allocator.by_ticket.values()) == [5, 5, 50]


def test_avoided_key_is_used_only_when_the_others_take_longer() -> None:
    """A second on another key is worth it, a window is not."""
    allocator = _allocator(*(AppId(a, windows=(Window(1, 10.0),)) for a in "ab"))
    assert [reservation.alias for reservation in _take(allocator, 1, 0.0, avoid=("a",))] == ["b"]
    assert [reservation.alias for reservation in _take(allocator, 1, 0.0, avoid=("a",))] == ["a"]


def test_key_serves_only_its_models() -> None:
    """A model goes through the app_ids that serve it, or has no instant at all."""
    allocator = _allocator(
        AppId("a", windows=(Window(1, 10.0),), models=frozenset({"x"})),
        AppId("b", windows=(Window(1, 10.0),), models=frozenset({"m"})),
    )
    assert {reservation.alias for reservation in _take(allocator, 3, 0.0)} == {"b"}
    assert allocator.place(SlotRequest("y"), 0.0) is None


def test_max_in_flight_waits_for_the_end_of_a_call() -> None:
    """No instant is promised while the cap is reached; the end of a call makes room."""
    allocator = _allocator(AppId("a", windows=(Window(9, 10.0),), max_in_flight=1))
    (reservation,) = _take(allocator, 1, 0.0)
    assert allocator.start(reservation, 0.0)
    assert allocator.place(SlotRequest("m"), 0.0) is None
    allocator.end(reservation.ticket, None, 4.0)
    assert [reservation.at for reservation in _take(allocator, 1, 4.0)] == [4.0]


def test_death_of_an_owner_counts_what_it_may_have_sent() -> None:
    """Unconfirmed sends of the dead happened at the latest now; its reservations are free."""
    mine, theirs = (_allocator(AppId("a", windows=(Window(1, 10.0),)), owner=n) for n in (1, 2))
    started, planned = _take(theirs, 2, 0.0)
    theirs.start(started, 0.0)
    for reservation in (started, planned):
        mine.learn(replace(reservation))
    mine.last_ticket = theirs.last_ticket
    (reservation,) = _take(mine, 1, 0.0)
    assert (started.state, reservation.at) == (STARTED, 21.0)
    mine.reap(2, 2.0)
    mine.replan(2.0)
    assert reservation.at == 12.5
