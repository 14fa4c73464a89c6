"""One call from its first attempt to its reply or its end: breaker, quota, client, decision, again."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Protocol

from tasks.core.calls import Reply, Request, Usage
from tasks.core.errors import CallFailed, NoKeysLeft, QuotaHeld, ReplyError, Stopped
from tasks.core.quotas import AppId
from tasks.upstream.calls.adaptations import Adaptations
from tasks.upstream.calls.breaker import Breakers
from tasks.upstream.calls.client_pool import ClientPool
from tasks.upstream.calls.http_attempt import Attempt
from tasks.upstream.calls.refusal_breaker import Place, RefusalBreakers
from tasks.upstream.calls.refusals import Refusal
from tasks.upstream.calls.retry import Circumstances, RetryDecision, backoff, decide
from tasks.upstream.calls.scrub import Scrubber
from tasks.upstream.calls.suspects import Suspects
from tasks.upstream.calls.transport import Probe
from tasks.upstream.quota import Grant, Quota, Signal, read_signal

__all__ = ["CallAttempts", "CallLimits", "Counts", "LoadObserver", "Upstream"]

_MESSAGE = 300  # characters kept of what a server says
_ADAPTABLE = frozenset({"parameter", "format", "input"})
_READ = frozenset({400, 422})  # statuses of a request that was read and refused
_OK = 200
_OVERLOAD = frozenset({"overloaded", "rate_limited", "timeout"})
_SAID = ("x-ratelimit", "anthropic-ratelimit")


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How far a call may go. Times in seconds."""

    timeout: float = 600.0
    """One attempt, from the first byte sent to the last received."""
    connect_timeout: float = 10.0
    stream_idle_timeout: float = 60.0
    """Between two parts of a reply, once it has begun."""
    max_attempts: int = 3
    """Attempts that end in a transient error."""
    max_refused: int = 50
    """Attempts that a 429 or a refused key ended, which do not count as errors."""
    max_reply_bytes: int = 4 * 2**20
    deadline: float = 3600.0
    """The whole call, without its waits for quota."""
    backoff: float = 0.5
    max_backoff: float = 10.0


class Counts(Protocol):
    """Where outcomes are counted."""

    def add(self, name: str, reason: str = "") -> None: ...


class LoadObserver(Protocol):
    """Who bounds the calls in flight, and wants to know how they fare."""

    def answered(self, seconds: float) -> None: ...
    def overloaded(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Upstream:
    """What all calls of a process share."""

    app_ids: Mapping[str, AppId]
    quota: Quota
    pool: ClientPool
    breakers: Breakers
    scrub: Scrubber
    limits: CallLimits
    counts: Counts
    stop: threading.Event
    refusals: RefusalBreakers
    adaptations: Adaptations
    suspects: Suspects
    load: LoadObserver | None = None
    refresh_key: Callable[[str], bool] | None = None
    """Reads an app_id's key anew; True: it is another one."""

    def endpoints(self, model: str) -> dict[str, list[str]]:
        """base_url -> aliases that serve the model there."""
        found: dict[str, list[str]] = {}
        for app_id in self.app_ids.values():
            if app_id.serves(model):
                found.setdefault(app_id.base_url, []).append(app_id.alias)
        return found

    def adapted(self, request: Request) -> Request:
        """The request as its journal key has to name it: with what the model's endpoints want."""
        places = [(endpoint, request.model) for endpoint in self.endpoints(request.model)]
        return replace(request, adaptation=self.adaptations.together(places))


@dataclass(frozen=True, slots=True)
class Failed:
    """One failed attempt; `message` is the provider's, scrubbed."""

    decision: RetryDecision
    message: str
    grant: Grant
    attempt: Attempt

    @property
    def signal(self) -> Signal | None:
        """What the quota hears of it."""
        refusal = self.decision.refusal
        if refusal is None or (refusal.about != "wait" and refusal.wait is None):
            return None
        limited = refusal.about == "wait" and refusal.status == HTTPStatus.TOO_MANY_REQUESTS
        return read_signal(
            self.attempt.refused_headers,
            now_epoch=time.time(),
            kind="rate_limited" if limited else "hold",
            wait=refusal.wait,
            reason=self.message,
        )


class CallAttempts:
    """The state of one call. `run` is called until it returns a reply."""

    def __init__(self, upstream: Upstream, request: Request) -> None:
        self._up = upstream
        self._request = request
        self._question = request.key
        self._endpoints = upstream.endpoints(request.model)
        self._attempts = 0
        self._failures = 0
        self._uncounted = 0
        self._queue = 0.0
        self._wasted: Usage | None = None
        """Tokens of attempts whose reply was of no use, and paid for."""
        self._began = time.monotonic()
        self._failed_on = ""
        self._refused_by: dict[str, bool] = {}
        """Aliases whose key or account was refused, and whether that was certain."""
        self._questioned: set[str] = set()
        """Aliases on which the question itself was refused."""
        self._last = ("", "", "")
        """alias, endpoint and trace id of the last attempt"""

    def run(self, request: Request) -> Reply | None:
        """The reply, after as many attempts as it takes; None: the request is adapted, ask anew.

        Raises:
            CallFailed: it is over, `code` says why.
            NoKeysLeft, QuotaHeld, CircuitOpen, Stopped: nothing more can be sent.
        """
        self._request = request
        while True:
            grant = self._grant()
            outcome = self._attempt(grant)
            if isinstance(outcome, Reply):
                return outcome
            if self._after(outcome):
                return None

    # -- before an attempt -------------------------------------------------------------------

    def _grant(self) -> Grant:
        up = self._up
        while True:
            shut = up.breakers.wait(self._endpoints, up.stop)
            self._raise_if_stopped()
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
            if up.breakers.enter(endpoint):
                return grant
            # Only keys of a broken endpoint are left: wait for its next probe.
            up.refusals.leave((endpoint, self._request.model))
            up.quota.refund(grant)
            up.breakers.wait([endpoint], up.stop)

    def _enter(self, shut: set[str]) -> list[Place]:
        """Places at the endpoints that may be asked; the one that just failed only if it must be."""
        enter, places = self._up.refusals.enter, self._places()
        failed = shut | ({self._last[1]} if self._failed_on else set())
        better = [place for place in places if place[0] not in failed]
        if better and len(better) < len(places):
            with suppress(CallFailed):  # they are closed
                return enter(better, self._raise_if_stopped)
        return enter(places, self._raise_if_stopped)

    def _places(self) -> list[Place]:
        """Where the model may be asked; an endpoint of which no key may use it is closed."""
        model, out = self._request.model, self._up.suspects.without(self._request.model)
        for endpoint, aliases in self._endpoints.items() if out else ():
            if all(alias in out for alias in aliases):
                self._up.refusals.close((endpoint, model), out[aliases[0]])
        return [(endpoint, model) for endpoint in self._endpoints]

    def _acquire(self, shut: set[str], entered: set[str]) -> Grant:
        usable = {alias for url in entered for alias in self._endpoints[url]}
        never = {alias for found in self._endpoints.values() for alias in found} - usable
        out = set(self._up.suspects.without(self._request.model))
        never |= out if usable - out else set()  # all out: this is the probe
        avoid = {alias for endpoint in shut for alias in self._endpoints[endpoint]}
        avoid |= {self._failed_on} if self._failed_on else set()
        refused = {*self._refused_by, *self._questioned}
        try:
            grant = self._wait_for_slot(
                avoid, never | refused if usable - never - refused else never
            )
        except (NoKeysLeft, QuotaHeld):
            if refused <= never:
                raise
            grant = self._wait_for_slot(avoid, never)
        self._queue += grant.waited
        return grant

    def _wait_for_slot(self, avoid: set[str], never: set[str]) -> Grant:
        return self._up.quota.acquire(
            self._request.model,
            tokens=self._request.prompt_tokens + self._request.expected_tokens,
            avoid=avoid,
            urgent=self._uncounted > 0,
            never=never,
        )

    # -- an attempt --------------------------------------------------------------------------

    def _attempt(self, grant: Grant) -> Reply | Failed:
        up, endpoint = self._up, self._up.app_ids[grant.app_id].base_url
        place = (endpoint, self._request.model)
        self._attempts += 1
        attempt = self._prepare(grant, place)
        self._last = (grant.app_id, endpoint, attempt.trace_id)
        up.counts.add("attempts")
        alive, outcome, said = None, None, ""
        try:
            outcome = self._send(attempt, grant, endpoint)
            alive = True if isinstance(outcome, Reply) else outcome.decision.alive
            said = "" if alive or isinstance(outcome, Reply) else outcome.message
        finally:
            up.breakers.report(endpoint, alive=alive, error=said)
            if outcome is None:
                up.refusals.leave(place)
        if isinstance(outcome, Reply):
            self._answered(place, grant, attempt)
        return outcome

    def _prepare(self, grant: Grant, place: Place) -> Attempt:
        limits = self._up.limits
        probe = Probe(
            timeout=limits.timeout,
            idle=limits.stream_idle_timeout,
            max_bytes=limits.max_reply_bytes,
            on_sent=partial(self._up.quota.sent, grant),
        )
        adaptation = self._up.adaptations.at(place)
        return Attempt(self._request, uuid.uuid4().hex, probe, adaptation)

    def _send(self, attempt: Attempt, grant: Grant, endpoint: str) -> Reply | Failed:
        with self._up.pool.lease(grant.app_id, endpoint) as lease:
            try:
                completion = attempt.send(lease.client)
            except Exception as error:  # noqa: BLE001  (decide raises what is not the upstream's)
                decision = decide(error, self._circumstances(attempt))
                if decision.reconnect:
                    self._up.pool.replace(lease)
                usage = error.usage if isinstance(error, ReplyError) else None
                self._wasted = usage.plus(self._wasted) if usage else self._wasted
                failed = Failed(
                    decision, self._up.scrub(decision.message, _MESSAGE), grant, attempt
                )
                self._settle_failure(failed)
                return failed
        self._settle(grant, attempt, completion.usage.total_tokens)
        reply = attempt.reply(
            completion,
            app_id=grant.app_id,
            endpoint=endpoint,
            queue=self._queue,
            attempts=self._attempts,
            wasted=self._wasted,
        )
        if self._up.load is not None:
            self._up.load.answered(reply.latency)
        return reply

    def _circumstances(self, attempt: Attempt) -> Circumstances:
        return Circumstances(
            reached=attempt.probe.reached,
            replying=attempt.replying,
            stream=self._request.stream,
            model=self._request.model,
            headers=attempt.headers,
        )

    def _settle(self, grant: Grant, attempt: Attempt, tokens: int | None) -> None:
        headers = attempt.headers or {}
        if any(name.startswith(_SAID) for name in headers):
            self._up.quota.feedback(grant, read_signal(headers, now_epoch=time.time()))
        self._up.quota.settle(grant, tokens=tokens)

    def _settle_failure(self, failed: Failed) -> None:
        quota, decision = self._up.quota, failed.decision
        signal = failed.signal
        if signal is not None:
            quota.feedback(failed.grant, signal)
        if decision.refund:
            quota.refund(failed.grant)
        else:
            quota.settle(failed.grant)

    # -- after an attempt --------------------------------------------------------------------

    def _answered(self, place: Place, grant: Grant, attempt: Attempt) -> None:
        up = self._up
        up.refusals.succeeded(place)
        up.quota.answered(grant)
        up.adaptations.taken(place, attempt.body)
        out = up.suspects.answered(
            grant.app_id, self._request.model, self._question, set(self._refused_by)
        )
        for alias in out:
            up.quota.disable(alias, "refused what another app_id was answered")

    def _after(self, failed: Failed) -> bool:
        """Back off, or raise CallFailed. True: the request is adapted."""
        decision = failed.decision
        self._up.counts.add("failed_attempts", decision.reason)
        if self._up.load is not None and decision.reason in _OVERLOAD:
            self._up.load.overloaded()
        self._failed_on = self._last[0] if decision.action == "retry" else ""
        if self._is_adapted(failed):
            self._uncounted += 1
            self._raise_if_spent(failed)
            return True
        again = self._judge(failed)
        self._failures += decision.counts
        self._uncounted += not decision.counts
        if not again and decision.action == "give_up":
            raise self._failed(decision.reason, failed.message)
        self._raise_if_spent(failed)
        if time.monotonic() - self._began - self._queue > self._up.limits.deadline:
            late = "deadline"
            raise self._failed(late, f"not done in time; at last {failed.message}")
        self._up.stop.wait(self._pause(failed))
        self._raise_if_stopped()
        return False

    def _is_adapted(self, failed: Failed) -> bool:
        refusal, attempt = failed.decision.refusal, failed.attempt
        if refusal is None or refusal.about not in _ADAPTABLE:
            return False
        place = (self._last[1], self._request.model)
        if refusal.about == "input" and (refusal.certain or refusal.status not in _READ):
            return False
        if not self._up.adaptations.learn(place, attempt.body, attempt.adaptation, refusal):
            return False
        if refusal.about == "input":
            self._up.refusals.refused(place, refusal, failed.message)
        else:
            self._up.refusals.leave(place)
        return True

    def _judge(self, failed: Failed) -> bool:
        """Draw the consequences of a refusal. True: another key may answer the question."""
        refusal, alias = failed.decision.refusal, self._last[0]
        place = (self._last[1], self._request.model)
        if refusal is None:
            self._up.refusals.leave(place)
            return False
        if refusal.about == "try_again" and refusal.status != _OK:
            self._up.refusals.leave(place)
        else:
            self._up.refusals.refused(place, refusal, failed.message)
        match refusal.about:
            case "key" | "money" if refusal.wait is None:
                self._judge_key(failed, refusal)
            case "model":
                self._up.suspects.model_refused(alias, self._request.model, failed.message)
            case "input" if not refusal.certain:
                self._questioned.add(alias)
                return len(self._questioned) == 1 and bool(self._others())
        return False

    def _judge_key(self, failed: Failed, refusal: Refusal) -> None:
        """Suspect the key; raises CallFailed when the question is the suspect, or no key is left."""
        up, alias = self._up, self._last[0]
        if refusal.about == "key" and up.refresh_key is not None and up.refresh_key(alias):
            return
        sent = failed.attempt.probe.started
        if up.suspects.key_refused(alias, self._question, refusal, sent):
            reason = f"{failed.decision.reason}: {failed.message}"
            up.quota.feedback(failed.grant, Signal("out", reason=reason))
            self._refused_by[alias] = True
            return
        again = alias in self._refused_by
        self._refused_by[alias] = refusal.certain
        second = len(self._refused_by) > 1 and not any(self._refused_by.values())
        if second or again:  # it is asked again on a key only where no other is left
            raise self._failed(failed.decision.reason, failed.message)

    def _others(self) -> set[str]:
        """Aliases that serve the model and have not refused this question."""
        aliases = {alias for aliases in self._endpoints.values() for alias in aliases}
        out = self._up.suspects.without(self._request.model)
        return aliases - {*self._refused_by, *self._questioned, *out}

    def _raise_if_spent(self, failed: Failed) -> None:
        decision, limits = failed.decision, self._up.limits
        if decision.counts and decision.action != "give_up":
            spent = self._failures >= min(
                decision.tries or limits.max_attempts, limits.max_attempts
            )
        else:
            spent = self._uncounted >= limits.max_refused
        if spent:
            raise self._failed(decision.reason, failed.message)

    def _pause(self, failed: Failed) -> float:
        limits, decision = self._up.limits, failed.decision
        said = None if decision.refusal is None else decision.refusal.wait
        if not decision.counts and (said is not None or self._is_limited(decision)):
            return 0.0  # the quota holds the key for as long as it takes, or has dropped it
        wait = backoff(
            self._failures + self._uncounted, base=limits.backoff, most=limits.max_backoff
        )
        return max(wait, min(said or 0.0, limits.max_backoff))

    def _is_limited(self, decision: RetryDecision) -> bool:
        windows = self._up.app_ids[self._last[0]].windows
        return decision.reason == "rate_limited" and bool(windows)

    def _failed(self, reason: str, message: str) -> CallFailed:
        alias, endpoint, trace_id = self._last
        return CallFailed(
            f"{reason}: {message}",
            code=reason,
            attempts=self._attempts,
            queue=self._queue,
            app_id=alias,
            endpoint=endpoint,
            trace_id=trace_id,
            usage=self._wasted,
        )

    def _raise_if_stopped(self) -> None:
        if self._up.stop.is_set():
            msg = "the run is being stopped: the call is left for the next run"
            raise Stopped(msg)
