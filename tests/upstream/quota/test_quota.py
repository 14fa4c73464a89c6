"""The quota of many threads: real files and a real PostgreSQL, real waits, windows of a second."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, NoKeysLeft, QuotaHeld, Stopped
from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import Allowance, Grant, Quota, Signal
from tasks.upstream.quota.key_status import read_quota_status

MakeQuota = Callable[..., Quota]


def _send(quota: Quota, count: int, model: str = "m") -> list[Grant]:
    grants = []
    for _ in range(count):
        grants.append(quota.acquire(model))
        quota.sent(grants[-1])
        quota.settle(grants[-1])
    return grants


@pytest.fixture(params=["file", "database"])
def place(request: pytest.FixtureRequest, ledger: Path) -> Path | str:
    """Every test runs on both kinds of store."""
    if request.param == "file":
        return ledger
    url: str = request.getfixturevalue("database")
    return url


@pytest.fixture
def threads() -> ThreadPoolExecutor:
    """Callers that wait in the background."""
    return ThreadPoolExecutor(8)


def _waiting(quota: Quota, count: int) -> None:
    """Until that many callers of the quota have a place in line."""
    deadline = time.monotonic() + 10
    thread = quota._running()
    while len(thread.allocator.mine) + len(thread._wait_list._waiting) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_next_burst_waits_for_window_and_margin(make_quota: MakeQuota) -> None:
    """The fourth of three goes one window and one margin after the first, and says how long."""
    quota = make_quota(a=(3, 1.0))
    grants = _send(quota, 4)
    # Never sooner; how much later depends on what else the machine does.
    assert grants[3].start_at - grants[0].start_at >= 1.1 - 1e-6
    assert grants[3].waited > 0.9
    use = quota.statistics().app_ids[0]
    assert (use.sends, use.windows[0].most, use.rate_limited) == (4, 3, 0)
    assert quota.statistics().kept


def test_next_run_knows_what_the_last_one_used(make_quota: MakeQuota) -> None:
    """A new run within the window waits for the sends of the one before."""
    first = make_quota(a=(2, 1.0), run_id="one")
    (grant, _) = _send(first, 2)
    first.close()
    second = make_quota(a=(2, 1.0), run_id="two")
    assert _send(second, 1)[0].start_at >= grant.start_at + 1.1
    assert second.statistics().sends == 1


def test_changed_quota_between_runs_counts_the_old_sends(make_quota: MakeQuota) -> None:
    """A longer window in the new configuration sees what the old run sent."""
    first = make_quota(a=(5, 0.2), run_id="one")
    (grant, *_) = _send(first, 5)
    first.close()
    second = make_quota(a=(5, 1.5), run_id="two")
    assert _send(second, 1)[0].start_at >= grant.start_at + 1.6


def test_runs_share_keys_and_keep_their_own_count(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """Two runs at once: together they never exceed the window, and both progress."""
    quotas = [make_quota(a=(2, 0.5), b=(2, 0.5), run_id=name) for name in ("one", "two")]
    done = [threads.submit(_send, quota, 6) for quota in quotas]
    starts = sorted(g.start_at for d in done for g in d.result(30) if g.app_id == "a")
    assert all(b - a >= 0.6 - 0.02 for a, b in zip(starts, starts[2:], strict=False))
    assert [quota.statistics().sends for quota in quotas] == [6, 6]
    assert all(quota.statistics().kept for quota in quotas)


def test_late_write_moves_those_who_wait(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """A send that left later than granted counts from when it left."""
    quota = make_quota(a=(1, 0.5))
    grant = quota.acquire("m")
    following = threads.submit(quota.acquire, "m")
    _waiting(quota, 1)
    late = grant.start_at + 0.4
    time.sleep(max(0.0, late - time.monotonic()))
    quota.sent(grant, late)
    assert following.result(30).start_at >= late + 0.6


def test_unconfirmed_send_counts_until_its_call_is_over(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """Nobody knows when it left, so nobody goes before the call ended, plus a window."""
    quota = make_quota(a=(1, 0.3))
    grant = quota.acquire("m")
    following = threads.submit(quota.acquire, "m")
    time.sleep(0.8)
    assert not following.done()
    quota.settle(grant)
    end = time.monotonic()
    assert following.result(30).start_at >= end + 0.3


def test_refund_gives_the_slot_to_the_next(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """After a failed connect the slot is free at once; a sent request cannot be refunded."""
    quota = make_quota(a=(1, 30.0))
    grant = quota.acquire("m")
    following = threads.submit(quota.acquire, "m")
    _waiting(quota, 1)
    quota.refund(grant)
    second = following.result(timeout=5)
    quota.sent(second)
    quota.refund(second)
    use = quota.statistics().app_ids[0]
    assert use.sends == 1


def test_retry_after_holds_the_key_for_everybody(make_quota: MakeQuota) -> None:
    """Others take over; the hold ends with the time the server gave, and a margin."""
    quota, other = (make_quota(a=(9, 5.0), b=(9, 5.0), run_id=name) for name in ("one", "two"))
    grant = _send(quota, 1)[0]
    quota.feedback(grant, Signal("rate_limited", retry_after=30.0))
    assert {g.app_id for g in _send(quota, 3)} == {"a", "b"} - {grant.app_id}
    state = next(s for s in quota.snapshot() if s.alias == grant.app_id)
    assert state.state == "held"
    assert 28 < state.hold <= 30.1
    assert {g.app_id for g in _send(other, 3)} == {"a", "b"} - {grant.app_id}
    assert quota.statistics().rate_limited == 1


def test_waiters_leave_a_key_that_is_held(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """A reservation on a held key moves to the key that can go first."""
    quota = make_quota(a=(1, 0.4), b=(1, 1.0))
    first = {grant.app_id: grant for grant in (quota.acquire("m"), quota.acquire("m"))}
    for grant in first.values():
        quota.sent(grant)
    following = threads.submit(quota.acquire, "m")
    _waiting(quota, 1)
    quota.feedback(first["a"], Signal("rate_limited", retry_after=60.0))
    assert following.result(timeout=5).app_id == "b"


def test_unexplained_429_fills_the_window_and_raises_the_margin(make_quota: MakeQuota) -> None:
    """No Retry-After: somebody else may use the key, or jitter is larger than thought."""
    quota = make_quota(a=(3, 0.5))
    grant = _send(quota, 1)[0]
    quota.feedback(grant, Signal("rate_limited"))
    following = quota.acquire("m")
    assert following.start_at >= grant.start_at + 0.7
    (use,) = quota.statistics().app_ids
    assert use.margin == pytest.approx(0.2)
    assert use.windows[0].most == 1


def test_short_retry_after_raises_the_margin_once_per_burst(make_quota: MakeQuota) -> None:
    """Refusals of one burst are one piece of evidence, for every process of the run."""
    quota, other = make_quota(a=(3, 5.0)), make_quota(a=(3, 5.0))
    grants = [*_send(quota, 2), *_send(other, 1)]
    for grant, hears in zip(grants, (quota, quota, other), strict=True):
        hears.feedback(grant, Signal("rate_limited", retry_after=0.1))
    assert quota.statistics().app_ids[0].margin == pytest.approx(0.2)
    assert other.statistics().app_ids[0].margin == pytest.approx(0.2)


def test_lower_limit_of_the_server_is_heeded_and_a_higher_one_is_not(make_quota: MakeQuota) -> None:
    """After a 429 of that window it takes away from what was configured; a higher one gives back."""
    quota = make_quota(a=(4, 30.0))
    grant = _send(quota, 1)[0]
    for said, limit in ((2, 2), (9, 4), (3, 3)):
        allowance = Allowance(limit=said, reset=20.0)
        quota.feedback(grant, Signal("rate_limited", requests=allowance))
        assert quota.snapshot()[0].limit == limit


def test_limit_of_another_window_is_not_heeded(make_quota: MakeQuota) -> None:
    """The minute's number beside our day's, or a second's beside our minute's, takes nothing away."""
    quota = make_quota(a=(10_000, 86_400.0))
    grant = _send(quota, 1)[0]
    quota.feedback(grant, Signal("ok", requests=Allowance(limit=60, remaining=59, reset=1.0)))
    quota.feedback(grant, Signal("rate_limited", requests=Allowance(limit=60, reset=42.0)))
    assert quota.snapshot()[0].limit == 10_000


def test_key_held_for_hours_is_not_waited_for(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """Waiting callers end with the instant and the provider's words; `enable` ends the hold."""
    quota = make_quota(a=(1, 30.0), longest_wait=1800.0)
    grant = _send(quota, 1)[0]
    waiting = threads.submit(quota.acquire, "m")
    _waiting(quota, 1)
    signal = Signal("rate_limited", retry_after=43_200.0, reason="Limit of 50 per day reached")
    quota.feedback(grant, signal)
    with pytest.raises(QuotaHeld, match=r"a can go on at 20.*Limit of 50 per day") as caught:
        waiting.result(timeout=5)
    assert caught.value.until == pytest.approx(time.time() + 43_200, abs=30)
    (status,) = read_quota_status(quota.place, "run").keys
    assert status.held_until == pytest.approx(caught.value.until, abs=5)
    assert "Limit of 50 per day" in status.hold_said
    quota.enable("a")
    assert quota.snapshot()[0].state != "held"
    assert make_quota(a=(1, 30.0)).snapshot()[0].state != "held"


def test_key_with_nothing_but_429_rests(make_quota: MakeQuota) -> None:
    """After two windows of refusals it is exhausted, with the provider's words; an answer forgives."""
    quota = make_quota(a=(3, 0.05), longest_wait=10.0, margin=0.01)
    words = Signal("rate_limited", retry_after=0.0, reason="free-models-per-day")

    def refused() -> None:
        for _ in range(200):
            grant = quota.acquire("m")
            quota.sent(grant)
            quota.feedback(grant, words)
            quota.settle(grant)

    with pytest.raises(QuotaHeld, match=r"nothing but 429 for .* s: free-models-per-day"):
        refused()


@pytest.mark.chaos
def test_key_that_answers_elsewhere_is_not_exhausted(make_quota: MakeQuota) -> None:
    """A process that meets only 429s does not take out a key that answers another one's calls."""
    quota, other = (make_quota(a=(9, 0.05), longest_wait=10.0, margin=0.01) for _ in range(2))
    words = Signal("rate_limited", retry_after=0.0, reason="slow down")
    for _ in range(20):
        good = other.acquire("m")
        other.settle(good)
        other.answered(good)
        other.snapshot()  # the note is on disk
        bad = quota.acquire("m")
        quota.sent(bad)
        quota.feedback(bad, words)
        quota.settle(bad)
        time.sleep(0.02)  # a fifth of two windows


def test_refusals_of_two_bursts_exhaust_no_key(make_quota: MakeQuota) -> None:
    """However many calls were refused at once: two refusals, two windows apart, are two."""
    quota = make_quota(a=(6, 0.05), longest_wait=10.0, margin=0.01)
    words = Signal("rate_limited", retry_after=0.0, reason="slow down")
    for _ in range(2):
        grants = _send(quota, 6)
        for grant in grants:
            quota.feedback(grant, words)
        quota.snapshot()
        time.sleep(0.4)  # past two windows with their margins
    assert quota.acquire("m").app_id == "a"


def test_burst_of_refusals_is_one_refusal(make_quota: MakeQuota) -> None:
    """Without a limit of ours, five refusals of one burst hold the key for one second and not for 16."""
    quota = make_quota(AppId("a"))
    for grant in [quota.acquire("m") for _ in range(5)]:
        quota.feedback(grant, Signal("rate_limited"))
    assert 0 < quota.snapshot()[0].hold <= 1.0


def test_a_hold_of_our_own_that_was_enough_is_not_doubled(make_quota: MakeQuota) -> None:
    """Refused again at once: twice as long; refused after an answer: as long as that was enough for."""
    quota = make_quota(AppId("a"))
    quota.feedback(quota.acquire("m"), Signal("rate_limited"))
    quota.feedback(quota.acquire("m"), Signal("rate_limited"))
    assert 1.0 < quota.snapshot()[0].hold <= 2.0
    quota.answered(quota.acquire("m"))
    quota.feedback(quota.acquire("m"), Signal("rate_limited"))
    assert 1.0 < quota.snapshot()[0].hold <= 2.0


def test_notes_are_seen_by_other_processes_and_later_runs(make_quota: MakeQuota) -> None:
    """What one learns of an endpoint, all know within a poll."""
    quota, other = make_quota(a=(1, 1.0)), make_quota(a=(1, 1.0), run_id="other")
    quota.note("n", "first")
    quota.note("n", "second")
    quota.snapshot()
    other.snapshot()
    assert other.notes["n"] == quota.notes["n"] == "second"
    assert make_quota(a=(1, 1.0), run_id="later").notes["n"] == "second"


def test_remaining_below_our_count_means_somebody_else_used_the_key(make_quota: MakeQuota) -> None:
    """What we did not send counts as used from now on; what may be in flight does not."""
    quota = make_quota(a=(5, 30.0))
    grant = _send(quota, 1)[0]
    quota.feedback(grant, Signal("ok", requests=Allowance(limit=5, remaining=4)))
    assert quota.snapshot()[0].used == 1
    quota.feedback(grant, Signal("ok", requests=Allowance(limit=5, remaining=2)))
    assert quota.snapshot()[0].used == 3
    assert quota.statistics().app_ids[0].sends == 1


def test_all_keys_dead_fails_at_once_with_every_reason(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """Waiting callers, of other processes too, learn it within a second; a new run starts afresh."""
    quota, other = make_quota(a=(1, 60.0), b=(1, 60.0)), make_quota(a=(1, 60.0), b=(1, 60.0))
    grants = _send(quota, 2)
    waiting = [threads.submit(q.acquire, "m") for q in (quota, other)]
    _waiting(quota, 1)
    _waiting(other, 1)
    for grant in grants:
        quota.feedback(grant, Signal("out", reason="unauthorized: no such key"))
    for future in waiting:
        with pytest.raises(NoKeysLeft, match=r"a: unauthorized: no such key.*b: unauthorized"):
            future.result(timeout=5)
    with pytest.raises(NoKeysLeft):
        quota.acquire("m")
    quota.close()
    other.close()
    assert {state.state for state in make_quota(a=(1, 60.0), b=(1, 60.0)).snapshot()} == {"ready"}


def test_model_that_no_key_serves_fails_at_once(make_quota: MakeQuota) -> None:
    """The message names the model."""
    quota = make_quota(AppId("a", windows=(Window(1, 1.0),), models=frozenset({"x"})))
    with pytest.raises(NoKeysLeft, match="no app_id serves y"):
        quota.acquire("y")


def test_limit_edited_while_callers_wait(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """Up: those who wait go, in every process of the run. Down: the smaller number holds."""
    quota, other = make_quota(a=(1, 60.0)), make_quota(a=(1, 60.0))
    _send(quota, 1)
    waiting = [threads.submit(_send, q, 1) for q in (quota, other)]
    _waiting(quota, 1)
    _waiting(other, 1)
    quota.set_limit("a", 3)
    assert all(future.result(timeout=5) for future in waiting)
    quota.set_limit("a", 2)
    assert quota.snapshot()[0].limit == 2
    blocked = threads.submit(quota.acquire, "m")
    _waiting(quota, 1)
    assert not blocked.done()
    quota.set_limit("a", 4)
    assert blocked.result(timeout=5)
    (use,) = quota.statistics().app_ids
    assert (use.windows[0].limit, use.windows[0].most) == (4, 4)
    assert quota.statistics().kept


def test_paused_key_is_waited_for_and_a_limit_of_none_is_the_configured_one(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """An inactive limit is a pause, not a failure."""
    quota = make_quota(a=(2, 60.0))
    quota.set_limit("a", 1)
    quota.set_limit("a", None)
    quota.disable("a", "inactive", pause=True)
    assert (quota.snapshot()[0].state, quota.snapshot()[0].reason) == ("paused", "inactive")
    waiting = threads.submit(_send, quota, 2)
    _waiting(quota, 1)
    quota.enable("a")
    assert len(waiting.result(timeout=5)) == 2


def test_slots_that_others_hold_count_as_used(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """Occupied slots are missing until they are given back."""
    quota = make_quota(a=(2, 60.0))
    quota.set_external_slots("a", 1)
    _send(quota, 1)
    blocked = threads.submit(quota.acquire, "m")
    _waiting(quota, 1)
    assert not blocked.done()
    quota.set_external_slots("a", 0)
    assert blocked.result(timeout=5)


def test_unknown_alias_is_a_config_error(make_quota: MakeQuota) -> None:
    """Operators' calls with a wrong alias say so instead of doing nothing."""
    with pytest.raises(ConfigError, match="no app_id is called z"):
        make_quota(a=(1, 1.0)).set_limit("z", 1)


def test_stop_wakes_everybody(make_quota: MakeQuota, threads: ThreadPoolExecutor) -> None:
    """Within a second, and nobody gets in after it."""
    stop = threading.Event()
    quota = make_quota(a=(1, 60.0), stop=stop)
    _send(quota, 1)
    waiting = [threads.submit(quota.acquire, "m") for _ in range(4)]
    _waiting(quota, 4)
    stop.set()
    for future in [*waiting, threads.submit(quota.acquire, "m")]:
        with pytest.raises(Stopped):
            future.result(timeout=5)
    assert quota.statistics().sends == 1


def test_close_wakes_everybody(make_quota: MakeQuota, threads: ThreadPoolExecutor) -> None:
    """A closed quota hands out nothing, and does not hang."""
    quota = make_quota(a=(1, 60.0))
    _send(quota, 1)
    waiting = threads.submit(quota.acquire, "m")
    _waiting(quota, 1)
    quota.close()
    for future in (waiting, threads.submit(quota.acquire, "m")):
        with pytest.raises(Stopped):
            future.result(timeout=5)


def test_keys_without_limit_are_counted_and_can_be_held(make_quota: MakeQuota) -> None:
    """No row per call; the least used goes next; a 429 rests the key for a while."""
    quota = make_quota(AppId("a"), AppId("b"))
    grants = [quota.acquire("m") for _ in range(100)]
    assert Counter(grant.app_id for grant in grants) == {"a": 50, "b": 50}
    quota.feedback(grants[0], Signal("rate_limited", retry_after=0.5))
    assert quota.snapshot()[0].state == "held"
    assert {grant.app_id for grant in _send(quota, 5)} == {"b"}
    quota.feedback(grants[1], Signal("rate_limited"))
    quota.snapshot()
    assert quota.acquire("m").waited > 0.1
    statistics = quota.statistics()
    assert (statistics.sends, statistics.rate_limited) == (106, 2)
    quota.disable("a", "revoked")
    quota.disable("b", "revoked")
    with pytest.raises(NoKeysLeft):
        quota.acquire("m")


def test_avoid_goes_to_another_key(make_quota: MakeQuota) -> None:
    """A call that failed on a key tries another one first, limited or not."""
    quota = make_quota(AppId("c"), a=(9, 1.0))
    assert {quota.acquire("m", avoid=["a"]).app_id for _ in range(3)} == {"c"}
    limited = make_quota(a=(9, 1.0), b=(9, 1.0))
    assert {limited.acquire("m", avoid=["a"]).app_id for _ in range(3)} == {"b"}


def test_urgent_caller_overtakes(make_quota: MakeQuota, threads: ThreadPoolExecutor) -> None:
    """A call that met a 429 goes before those that wait already."""
    quota = make_quota(a=(1, 0.5))
    _send(quota, 1)
    order: list[str] = []

    def call(name: str, *, urgent: bool) -> None:
        quota.sent(quota.acquire("m", urgent=urgent))
        order.append(name)

    waiting: list[Future[None]] = [threads.submit(call, "early", urgent=False)]
    _waiting(quota, 1)
    waiting.append(threads.submit(call, "urgent", urgent=True))
    for future in waiting:
        future.result(timeout=5)
    assert order == ["urgent", "early"]


def test_call_of_any_length_does_not_block_its_key(make_quota: MakeQuota) -> None:
    """In flight is not in use: the next window is open while the call runs."""
    quota = make_quota(a=(1, 0.2))
    grants = []
    for _ in range(3):
        grants.append(quota.acquire("m"))
        quota.sent(grants[-1])
    assert quota.snapshot()[0].in_flight == 3


def test_max_in_flight_holds_over_processes(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """The cap counts every process's calls; the end of one lets the next go."""
    pool = AppId("a", windows=(Window(9, 0.2),), max_in_flight=2)
    quota, other = make_quota(pool), make_quota(pool)
    first, second = quota.acquire("m"), other.acquire("m")
    for grant, owner in ((first, quota), (second, other)):
        owner.sent(grant)
    blocked = threads.submit(other.acquire, "m")
    _waiting(other, 1)
    assert not blocked.done()
    quota.settle(first)
    assert blocked.result(timeout=5)


def test_token_quota_is_settled_with_usage(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """Reserved tokens that were not used are given to the next caller."""
    quota = make_quota(AppId("a", token_windows=(Window(100, 60.0),)))
    grant = quota.acquire("m", tokens=90)
    quota.sent(grant)
    blocked = threads.submit(quota.acquire, "m", tokens=50)
    _waiting(quota, 1)
    assert not blocked.done()
    quota.settle(grant, tokens=30)
    assert blocked.result(timeout=5).tokens == 50


def test_forgotten_grant_does_not_block_its_slot(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """A caller that failed between acquire and settle: the slot counts, and leaves the window."""
    quota = make_quota(a=(1, 0.3))
    grant = quota.acquire("m")
    following = threads.submit(quota.acquire, "m")
    _waiting(quota, 1)
    forgotten = time.monotonic()
    del grant
    assert following.result(timeout=5).start_at >= forgotten + 0.3


def test_repr_shows_the_pool(make_quota: MakeQuota) -> None:
    """Aliases and windows, and nothing else to hide."""
    text = repr(make_quota(AppId("b"), a=(3, 60.0)))
    assert "a 3/60s" in text
    assert "b no limit" in text


def test_reasons_outlive_a_process_but_not_a_run(make_quota: MakeQuota) -> None:
    """A shard that starts again is told what is out; a run that starts again judges afresh."""
    parent, shard = make_quota(a=(2, 60.0)), make_quota(a=(2, 60.0))
    shard.disable("a", "revoked")
    shard.close()
    again = make_quota(a=(2, 60.0))
    assert again.snapshot()[0].reason == "revoked"
    for quota in (again, parent):
        quota.close()
    assert make_quota(a=(2, 60.0)).snapshot()[0].reason is None


def test_next_send_of_a_run_is_read_beside_it(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """The instant at which the first waiting caller goes; None when nobody waits."""
    quota = make_quota(a=(1, 30.0))
    _send(quota, 1)
    assert read_quota_status(quota.place, "run").next_send is None
    threads.submit(quota.acquire, "m")
    _waiting(quota, 1)
    next_send = read_quota_status(quota.place, "run").next_send
    assert next_send == pytest.approx(time.time() + 30, abs=5)
    assert read_quota_status(quota.place, "another run").next_send is None
