"""Quota groups: keys that share windows, against a server that counts them as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from deployments.sandbox import Sandbox
from tasks.core.errors import NoKeysLeft
from tasks.core.quotas import AppId, Window, shared_quotas
from tasks.upstream.calls.caller import Caller
from tasks.upstream.quota import Quota, Signal

MakeQuota = Callable[..., Quota]
SIX = (Window(6, 1.0),)


def member(alias: str, url: str = "", models: frozenset[str] | None = None) -> AppId:
    """A key of the group "s"."""
    return AppId(alias, url, windows=SIX, models=models, quota_group="s")


def test_two_keys_of_one_subscription_are_never_refused(
    sandbox: Sandbox, open_call: Callable[..., Caller], ask: Callable[..., object]
) -> None:
    """Both keys count as one there: 24 calls, no 429, each key has half of them."""
    sandbox.control(quota=["6/1s"], shared_quota=True)
    pool = [member("a0", sandbox.base_url), member("a1", sandbox.base_url)]
    caller = open_call(2, app_ids=pool, margin=0.2, run_id="one")
    with ThreadPoolExecutor(12) as executor:
        replies = list(executor.map(caller.call, [ask(f"q{n}") for n in range(24)]))  # type: ignore[arg-type]
    assert sandbox.stats()["statuses"] == {"200": 24}
    assert Counter(reply.app_id for reply in replies) == {"a0": 12, "a1": 12}
    (use,) = caller._up.quota.statistics().app_ids
    assert (use.alias, use.sends, use.windows[0].most <= 6) == ("s", 24, True)


def test_group_is_shared_by_runs_that_have_other_keys_of_it(make_quota: MakeQuota) -> None:
    """What one run sends with one key, another run with another key of the group lacks."""
    first, second = make_quota(member("a")), make_quota(member("b"), run_id="other")
    for _ in range(4):
        grant = first.acquire("m")
        first.sent(grant)
        first.settle(grant)
    assert [grant.app_id for grant in (second.acquire("m"), second.acquire("m"))] == ["b", "b"]
    assert second.snapshot()[0].used == 6
    assert second.acquire("m").waited > 0.5


def test_key_of_a_group_goes_out_alone(make_quota: MakeQuota) -> None:
    """The others go on, in every process of the run; when all are out, every reason is told."""
    quota, other = make_quota(member("a"), member("b")), make_quota(member("a"), member("b"))
    first = quota.acquire("m", never={"b"})
    quota.feedback(first, Signal("out", reason="revoked"))
    quota.snapshot()
    assert quota.acquire("m").app_id == "b"
    assert other.snapshot()[0].state == "ready"
    last = other.acquire("m")
    assert last.app_id == "b"
    other.feedback(last, Signal("out", reason="unpaid"))
    other.snapshot()
    for one in (quota, other):
        one.snapshot()
        with pytest.raises(NoKeysLeft, match="every key of it is out, a: revoked; b: unpaid"):
            one.acquire("m")
    quota.enable("a")
    assert quota.acquire("m").app_id == "a"


def test_member_serves_its_own_models(make_quota: MakeQuota) -> None:
    """The group serves what any member does, each call goes to one that can, `avoid` if need be."""
    pool = [member("a", models=frozenset({"x"})), member("b", models=frozenset({"x", "y"}))]
    (whole,) = shared_quotas(pool)
    assert (whole.alias, whole.models) == ("s", {"x", "y"})
    quota = make_quota(*pool)
    assert quota.acquire("y", avoid={"b"}).app_id == "b"
    assert quota.acquire("x").app_id == "a"
    with pytest.raises(NoKeysLeft):
        quota.acquire("y", never={"b"})
