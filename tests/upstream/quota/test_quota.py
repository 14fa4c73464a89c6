"""The quota of many threads: real files and a real PostgreSQL, real waits, windows of a second."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tasks.core.errors import NoKeysLeft, Stopped
from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import Quota, Signal
from tasks.upstream.quota.key_status import read_quota_status
from tests.upstream.quota.callers import BOTH_STORES, send, until_in_line

pytestmark = BOTH_STORES
MakeQuota = Callable[..., Quota]


def test_next_burst_waits_for_window_and_margin(make_quota: MakeQuota) -> None:
    """The fourth of three goes one window and one margin after the first, and says how long."""
    quota = make_quota(a=(3, 1.0))
    grants, asked = send(quota, 3), time.monotonic()
    grants += send(quota, 1)
    # Never sooner; how much later depends on what else the machine does.
    assert grants[3].start_at - grants[0].start_at >= 1.1 - 1e-6
    assert 0 < grants[3].waited <= time.monotonic() - asked
    use = quota.statistics().app_ids[0]
    assert (use.sends, use.windows[0].most, use.rate_limited) == (4, 3, 0)
    assert quota.statistics().kept


def test_next_run_knows_what_the_last_one_used(make_quota: MakeQuota) -> None:
    """A new run within the window waits for the sends of the one before."""
    first = make_quota(a=(2, 1.0), run_id="one")
    (grant, _) = send(first, 2)
    first.close()
    second = make_quota(a=(2, 1.0), run_id="two")
    assert send(second, 1)[0].start_at >= grant.start_at + 1.1
    assert second.statistics().sends == 1


def test_changed_quota_between_runs_counts_the_old_sends(make_quota: MakeQuota) -> None:
    """A longer window in the new configuration sees what the old run sent."""
    first = make_quota(a=(5, 0.2), run_id="one")
    (grant, *_) = send(first, 5)
    first.close()
    second = make_quota(a=(5, 1.5), run_id="two")
    assert send(second, 1)[0].start_at >= grant.start_at + 1.6


def test_runs_share_keys_and_keep_their_own_count(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """Two runs at once: together they never exceed the window, and both progress."""
    quotas = [make_quota(a=(2, 0.5), b=(2, 0.5), run_id=name) for name in ("one", "two")]
    done = [threads.submit(send, quota, 6) for quota in quotas]
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
    until_in_line(quota, 1)
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
    until_in_line(quota, 1)
    quota.refund(grant)
    second = following.result(timeout=5)
    quota.sent(second)
    quota.refund(second)
    use = quota.statistics().app_ids[0]
    assert use.sends == 1


def test_stop_wakes_everybody(make_quota: MakeQuota, threads: ThreadPoolExecutor) -> None:
    """Within a second, and nobody gets in after it."""
    stop = threading.Event()
    quota = make_quota(a=(1, 60.0), stop=stop)
    send(quota, 1)
    waiting = [threads.submit(quota.acquire, "m") for _ in range(4)]
    until_in_line(quota, 4)
    stop.set()
    for future in [*waiting, threads.submit(quota.acquire, "m")]:
        with pytest.raises(Stopped):
            future.result(timeout=5)
    assert quota.statistics().sends == 1


def test_close_wakes_everybody(make_quota: MakeQuota, threads: ThreadPoolExecutor) -> None:
    """A closed quota hands out nothing, and does not hang."""
    quota = make_quota(a=(1, 60.0))
    send(quota, 1)
    waiting = threads.submit(quota.acquire, "m")
    until_in_line(quota, 1)
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
    assert {grant.app_id for grant in send(quota, 5)} == {"b"}
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
    send(quota, 1)
    order: list[str] = []

    def call(name: str, *, urgent: bool) -> None:
        quota.sent(quota.acquire("m", urgent=urgent))
        order.append(name)

    waiting: list[Future[None]] = [threads.submit(call, "early", urgent=False)]
    until_in_line(quota, 1)
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
    until_in_line(other, 1)
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
    until_in_line(quota, 1)
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
    until_in_line(quota, 1)
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
    send(quota, 1)
    assert read_quota_status(quota.place, "run").next_send is None
    threads.submit(quota.acquire, "m")
    until_in_line(quota, 1)
    next_send = read_quota_status(quota.place, "run").next_send
    assert next_send == pytest.approx(time.time() + 30, abs=5)
    assert read_quota_status(quota.place, "another run").next_send is None
