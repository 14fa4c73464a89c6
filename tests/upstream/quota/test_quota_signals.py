"""What providers say, and what a quota makes of it: holds, margins, limits, keys that are out."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.core.errors import NoKeysLeft, QuotaHeld
from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import Allowance, Quota, Signal
from tasks.upstream.quota.key_status import read_quota_status
from tests.upstream.quota.callers import BOTH_STORES, send, until_in_line

pytestmark = BOTH_STORES
MakeQuota = Callable[..., Quota]


def test_retry_after_holds_the_key_for_everybody(make_quota: MakeQuota) -> None:
    """Others take over; the hold ends with the time the server gave, and a margin."""
    quota, other = (make_quota(a=(9, 5.0), b=(9, 5.0), run_id=name) for name in ("one", "two"))
    grant = send(quota, 1)[0]
    quota.feedback(grant, Signal("rate_limited", retry_after=30.0))
    assert {g.app_id for g in send(quota, 3)} == {"a", "b"} - {grant.app_id}
    state = next(s for s in quota.snapshot() if s.alias == grant.app_id)
    assert state.state == "held"
    assert 28 < state.hold <= 30.1
    assert {g.app_id for g in send(other, 3)} == {"a", "b"} - {grant.app_id}
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
    until_in_line(quota, 1)
    quota.feedback(first["a"], Signal("rate_limited", retry_after=60.0))
    assert following.result(timeout=5).app_id == "b"


def test_unexplained_429_fills_the_window_and_raises_the_margin(make_quota: MakeQuota) -> None:
    """No Retry-After: somebody else may use the key, or jitter is larger than thought."""
    quota = make_quota(a=(3, 0.5))
    grant = send(quota, 1)[0]
    quota.feedback(grant, Signal("rate_limited"))
    following = quota.acquire("m")
    assert following.start_at >= grant.start_at + 0.7
    (use,) = quota.statistics().app_ids
    assert use.margin == pytest.approx(0.2)
    assert use.windows[0].most == 1


def test_short_retry_after_raises_the_margin_once_per_burst(make_quota: MakeQuota) -> None:
    """Refusals of one burst are one piece of evidence, for every process of the run."""
    quota, other = make_quota(a=(3, 5.0)), make_quota(a=(3, 5.0))
    grants = [*send(quota, 2), *send(other, 1)]
    for grant, hears in zip(grants, (quota, quota, other), strict=True):
        hears.feedback(grant, Signal("rate_limited", retry_after=0.1))
    assert quota.statistics().app_ids[0].margin == pytest.approx(0.2)
    assert other.statistics().app_ids[0].margin == pytest.approx(0.2)


def test_lower_limit_of_the_server_is_heeded_and_a_higher_one_is_not(make_quota: MakeQuota) -> None:
    """After a 429 of that window it takes away from what was configured; a higher one gives back."""
    quota = make_quota(a=(4, 30.0))
    grant = send(quota, 1)[0]
    for said, limit in ((2, 2), (9, 4), (3, 3)):
        allowance = Allowance(limit=said, reset=20.0)
        quota.feedback(grant, Signal("rate_limited", requests=allowance))
        assert quota.snapshot()[0].limit == limit


def test_limit_of_another_window_is_not_heeded(make_quota: MakeQuota) -> None:
    """The minute's number beside our day's, or a second's beside our minute's, takes nothing away."""
    quota = make_quota(a=(10_000, 86_400.0))
    grant = send(quota, 1)[0]
    quota.feedback(grant, Signal("ok", requests=Allowance(limit=60, remaining=59, reset=1.0)))
    quota.feedback(grant, Signal("rate_limited", requests=Allowance(limit=60, reset=42.0)))
    assert quota.snapshot()[0].limit == 10_000


def test_key_held_for_hours_is_not_waited_for(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """Waiting callers end with the instant and the provider's words; `enable` ends the hold."""
    quota = make_quota(a=(1, 30.0), longest_wait=1800.0)
    grant = send(quota, 1)[0]
    waiting = threads.submit(quota.acquire, "m")
    until_in_line(quota, 1)
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
        grants = send(quota, 6)
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
    grant = send(quota, 1)[0]
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
    grants = send(quota, 2)
    waiting = [threads.submit(q.acquire, "m") for q in (quota, other)]
    until_in_line(quota, 1)
    until_in_line(other, 1)
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
