"""Admission of a call's next attempt: budget, breakers, a slot of the quota."""

from __future__ import annotations

from contextlib import suppress

from tasks.core.errors import CallFailed, NoKeysLeft, QuotaHeld
from tasks.upstream.budget import Spend
from tasks.upstream.calls.call_context import CallState, Upstream
from tasks.upstream.calls.refusal_breaker import Place
from tasks.upstream.quota import Grant
from tasks.upstream.quota.wait_list import instant

__all__ = ["Admission"]


class Admission:
    """Finds a key and an endpoint for each attempt of one call."""

    def __init__(self, upstream: Upstream, state: CallState) -> None:
        self._up = upstream
        self._state = state

    def await_grant(self) -> tuple[Grant, Spend]:
        """A slot of the quota and the call's part of the budget, as soon as there are both.

        Raises:
            NoKeysLeft, QuotaHeld, OverBudget, CircuitOpen, CallFailed, Stopped: there never will be.
        """
        up = self._up
        while True:
            up.budget.await_room(self._state.request)
            shut = up.breakers.wait(self._state.endpoints, up.stop)
            entered = self._enter(shut)
            try:
                grant = self._acquire(shut, {url for url, _ in entered})
            except BaseException:
                for place in entered:
                    up.refusals.leave(place)
                raise
            endpoint = up.app_ids[grant.app_id].base_url
            for place in entered:
                if place[0] != endpoint:
                    up.refusals.leave(place)
            spend = self._reserve(grant, endpoint)
            if spend is None:
                continue
            if up.breakers.enter(endpoint):
                return grant, spend
            # Only keys of a broken endpoint are left: wait for its next probe.
            up.budget.settle_unpaid(spend, sent=False)
            self._give_back(grant, endpoint)
            up.breakers.wait([endpoint], up.stop)

    def _reserve(self, grant: Grant, endpoint: str) -> Spend | None:
        """The call's part of the budget; without one the slot is given back."""
        try:
            spend = self._up.budget.reserve(self._state.request)
        except BaseException:
            self._give_back(grant, endpoint)
            raise
        if spend is None:
            self._give_back(grant, endpoint)
        return spend

    def _give_back(self, grant: Grant, endpoint: str) -> None:
        self._up.refusals.leave((endpoint, self._state.request.model))
        self._up.quota.refund(grant)

    def _enter(self, shut: set[str]) -> list[Place]:
        """Places at the endpoints that may be asked; the one that just failed only if it must be."""
        enter, places = self._up.refusals.enter, self._places()
        failed = shut | ({self._state.endpoint} if self._state.failed_on else set())
        better = [place for place in places if place[0] not in failed]
        if better and len(better) < len(places):
            with suppress(CallFailed):  # they are closed
                return enter(better, self._check)
        return enter(places, self._check)

    def _check(self) -> None:
        """Leave the call where it cannot go on: the run stops, or the model's quota is used up.

        Raises:
            Stopped, QuotaHeld: it is so.
        """
        self._up.raise_if_stopped()
        model = self._state.request.model
        hold = self._up.suspects.hold(model, self._state.aliases)
        if hold is None:
            return
        until, said = hold
        msg = (
            f"{model}: its quota is used up on every app_id that serves it; it can go on at "
            f"{instant(until)} ({said}): run again then"
        )
        raise QuotaHeld(msg, until=until)

    def _places(self) -> list[Place]:
        """Where the model may be asked; an endpoint of which no key may use it is closed."""
        model, suspects = self._state.request.model, self._up.suspects
        out = suspects.without(model)
        for endpoint, aliases in self._state.endpoints.items() if out else ():
            if all(alias in out for alias in aliases) and suspects.hold(model, aliases) is None:
                self._up.refusals.close((endpoint, model), out[aliases[0]])
        self._check()
        return [(endpoint, model) for endpoint in self._state.endpoints]

    def _acquire(self, shut: set[str], entered: set[str]) -> Grant:
        usable = {alias for url in entered for alias in self._state.endpoints[url]}
        never = self._state.aliases - usable
        out = set(self._up.suspects.without(self._state.request.model))
        never |= out if usable - out else set()  # all out: this is the probe
        avoid = {alias for endpoint in shut for alias in self._state.endpoints[endpoint]}
        avoid |= {self._state.failed_on} if self._state.failed_on else set()
        refused = {*self._state.refused_by, *self._state.questioned}
        try:
            grant = self._wait_for_slot(
                avoid, never | refused if usable - never - refused else never
            )
        except (NoKeysLeft, QuotaHeld):
            if refused <= never:
                raise
            grant = self._wait_for_slot(avoid, never)
        self._state.queue += grant.waited
        return grant

    def _wait_for_slot(self, avoid: set[str], never: set[str]) -> Grant:
        return self._up.quota.acquire(
            self._state.request.model,
            tokens=self._state.request.prompt_tokens + self._state.request.expected_tokens,
            avoid=avoid,
            urgent=self._state.uncounted > 0,
            never=never,
        )
