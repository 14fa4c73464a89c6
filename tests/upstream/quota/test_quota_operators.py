"""What operators do to a quota while callers wait for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.core.errors import ConfigError
from tasks.upstream.quota import Quota
from tests.upstream.quota.callers import BOTH_STORES, send, until_in_line

pytestmark = BOTH_STORES
MakeQuota = Callable[..., Quota]


def test_limit_edited_while_callers_wait(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """Up: those who wait go, in every process of the run. Down: the smaller number holds."""
    quota, other = make_quota(a=(1, 60.0)), make_quota(a=(1, 60.0))
    send(quota, 1)
    waiting = [threads.submit(send, q, 1) for q in (quota, other)]
    until_in_line(quota, 1)
    until_in_line(other, 1)
    quota.set_limit("a", 3)
    assert all(future.result(timeout=5) for future in waiting)
    quota.set_limit("a", 2)
    assert quota.snapshot()[0].limit == 2
    blocked = threads.submit(quota.acquire, "m")
    until_in_line(quota, 1)
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
    waiting = threads.submit(send, quota, 2)
    until_in_line(quota, 1)
    quota.enable("a")
    assert len(waiting.result(timeout=5)) == 2


def test_slots_that_others_hold_count_as_used(
    make_quota: MakeQuota, threads: ThreadPoolExecutor
) -> None:
    """Occupied slots are missing until they are given back."""
    quota = make_quota(a=(2, 60.0))
    quota.set_external_slots("a", 1)
    send(quota, 1)
    blocked = threads.submit(quota.acquire, "m")
    until_in_line(quota, 1)
    assert not blocked.done()
    quota.set_external_slots("a", 0)
    assert blocked.result(timeout=5)


def test_unknown_alias_is_a_config_error(make_quota: MakeQuota) -> None:
    """Operators' calls with a wrong alias say so instead of doing nothing."""
    with pytest.raises(ConfigError, match="no app_id is called z"):
        make_quota(a=(1, 1.0)).set_limit("z", 1)
