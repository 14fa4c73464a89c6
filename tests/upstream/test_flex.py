"""The flex tier: half the price when there is room, and no harm when there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from deployments.sandbox import Fault, Sandbox
from tasks.core.calls import Request
from tasks.core.quotas import AppId, Window
from tasks.upstream.calls.caller import Caller
from tasks.upstream.quota.statistics import read_statistics

Ask = Callable[..., Request]
OpenCaller = Callable[..., Caller]


def flex(request: Request, patience: float = 60.0) -> Request:
    """The request, at the flex tier."""
    return replace(request, flex_patience=patience)


def limited(sandbox: Sandbox) -> list[AppId]:
    """One app_id with a window that a filled one would close for a minute."""
    return [AppId("a0", sandbox.base_url, windows=(Window(20, 60.0),))]


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_goes_as_flex(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask, *, stream: bool
) -> None:
    """The tier is no part of the question: the journal answers the same question without it."""
    caller = open_call()
    reply = caller.call(flex(ask("one", stream=stream)))
    assert reply.via == "flex"
    assert sandbox.bill()["tiers"]["flex"]["calls"] == 1
    again = caller.call(ask("one"))
    assert again.journaled
    assert again.via == "flex"
    assert sandbox.stats()["requests"] == 1


@pytest.mark.parametrize("fault", [Fault.FLEX_UNAVAILABLE, Fault.CAPACITY])
def test_no_room_is_waited_for(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask, tmp_path: Path, fault: Fault
) -> None:
    """No margin is raised, no window is filled, no attempt is used up: the call goes when there is room."""
    sandbox.control(script=[{"fault": fault, "times": 5, "tier": "flex"}])
    caller = open_call(app_ids=limited(sandbox), keys=_key("a0"))
    reply = caller.call(flex(ask("one")))
    assert (reply.via, reply.attempts) == ("flex", 6)
    assert caller.statistics()["calls"]["failed_attempts"] == {"no_flex_room": 5}
    assert caller.call(flex(ask("two"))).queue < 5
    proof = read_statistics(tmp_path / "ledger.sqlite", "", limited(sandbox), 0.05)
    assert (proof.sends, proof.rate_limited, proof.kept) == (7, 0, True)
    assert [one.margin for one in proof.app_ids] == [0.05]


def test_after_its_patience_a_call_goes_as_standard(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask
) -> None:
    """At the full price, and said so."""
    sandbox.control(script=[{"fault": Fault.FLEX_UNAVAILABLE}])
    caller = open_call()
    reply = caller.call(flex(ask("one"), patience=0.2))
    assert reply.via == "online"
    assert caller.statistics()["calls"]["flex_as_standard"] == 1
    assert sandbox.bill()["tiers"]["online"]["calls"] == 1


def _key(alias: str) -> dict[str, SecretStr]:
    return {alias: SecretStr(f"plain-{alias}")}
