"""One call from its first attempt to its reply or its end: breaker, quota, client, decision, again."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from tasks.core.calls import Reply, Request, Usage
from tasks.core.errors import CallFailed, ReplyError, Stopped
from tasks.core.quotas import AppId
from tasks.upstream.calls.breaker import Breakers
from tasks.upstream.calls.client_pool import ClientPool
from tasks.upstream.calls.http_attempt import Attempt
from tasks.upstream.calls.retry import Circumstances, Decision, backoff, decide
from tasks.upstream.calls.scrub import Scrubber
from tasks.upstream.calls.transport import Probe
from tasks.upstream.quota import Grant, Quota, read_signal

__all__ = ["CallAttempts", "CallLimits", "Counts", "Load", "Upstream"]

_MESSAGE = 300  # characters kept of what a server says
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


class Load(Protocol):
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
    load: Load | None = None

    def endpoints(self, model: str) -> dict[str, list[str]]:
        """base_url -> aliases that serve the model there."""
        found: dict[str, list[str]] = {}
        for app_id in self.app_ids.values():
            if app_id.serves(model):
                found.setdefault(app_id.base_url, []).append(app_id.alias)
        return found


class CallAttempts:
    """The state of one call. `run` is used once."""

    def __init__(self, upstream: Upstream, request: Request) -> None:
        self._up = upstream
        self._request = request
        self._endpoints = upstream.endpoints(request.model)
        self._attempts = 0
        self._failures = 0
        self._uncounted = 0
        self._queue = 0.0
        self._wasted: Usage | None = None
        """Tokens of attempts whose reply was of no use, and paid for."""
        self._began = time.monotonic()
        self._failed_on = ""
        self._last = ("", "", "")
        """alias, endpoint and trace id of the last attempt"""

    def run(self) -> Reply:
        """The reply, after as many attempts as it takes.

        Raises:
            CallFailed: it is over, `code` says why.
            NoKeysLeft, CircuitOpen, Stopped: nothing more can be sent.
        """
        while True:
            grant = self._grant()
            outcome = self._attempt(grant)
            if isinstance(outcome, Reply):
                return outcome
            self._after(outcome)

    def _grant(self) -> Grant:
        up = self._up
        while True:
            shut = up.breakers.wait(self._endpoints, up.stop)
            self._raise_if_stopped()
            avoid = [alias for endpoint in shut for alias in self._endpoints[endpoint]]
            grant = up.quota.acquire(
                self._request.model,
                tokens=self._request.prompt_tokens + self._request.expected_tokens,
                avoid=[*avoid, self._failed_on] if self._failed_on else avoid,
                urgent=self._uncounted > 0,
            )
            self._queue += grant.waited
            endpoint = up.app_ids[grant.app_id].base_url
            if up.breakers.enter(endpoint):
                return grant
            # Only keys of a broken endpoint are left: wait for its next probe.
            up.quota.refund(grant)
            up.breakers.wait([endpoint], up.stop)

    def _attempt(self, grant: Grant) -> Reply | Decision:
        up, endpoint = self._up, self._up.app_ids[grant.app_id].base_url
        self._attempts += 1
        attempt = self._prepare(grant)
        self._last = (grant.app_id, endpoint, attempt.trace_id)
        up.counts.add("attempts")
        alive: bool | None = None
        try:
            outcome = self._send(attempt, grant, endpoint)
            alive = outcome.alive if isinstance(outcome, Decision) else True
        finally:
            up.breakers.report(endpoint, alive=alive)
        return outcome

    def _prepare(self, grant: Grant) -> Attempt:
        limits = self._up.limits
        probe = Probe(
            timeout=limits.timeout,
            idle=limits.stream_idle_timeout,
            max_bytes=limits.max_reply_bytes,
            on_sent=partial(self._up.quota.sent, grant),
        )
        return Attempt(self._request, uuid.uuid4().hex, probe)

    def _send(self, attempt: Attempt, grant: Grant, endpoint: str) -> Reply | Decision:
        with self._up.pool.lease(grant.app_id, endpoint) as lease:
            try:
                completion = attempt.send(lease.client)
            except Exception as error:  # noqa: BLE001  (decide raises what is not the upstream's)
                decision = decide(error, self._circumstances(attempt))
                if decision.reconnect:
                    self._up.pool.replace(lease)
                usage = error.usage if isinstance(error, ReplyError) else None
                self._wasted = usage.plus(self._wasted) if usage else self._wasted
                self._settle_failure(grant, decision)
                return decision
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
            wants_format="response_format" in self._request.params,
        )

    def _settle(self, grant: Grant, attempt: Attempt, tokens: int | None) -> None:
        headers = attempt.headers or {}
        if any(name.startswith(_SAID) for name in headers):
            self._up.quota.feedback(grant, read_signal(200, headers, now_epoch=time.time()))
        self._up.quota.settle(grant, tokens=tokens)

    def _settle_failure(self, grant: Grant, decision: Decision) -> None:
        quota = self._up.quota
        if decision.signal is not None:
            quota.feedback(grant, decision.signal)
        if decision.refund:
            quota.refund(grant)
        else:
            quota.settle(grant)

    def _after(self, decision: Decision) -> None:
        """Back off, or raise CallFailed."""
        self._up.counts.add("failed_attempts", decision.reason)
        if self._up.load is not None and decision.reason in _OVERLOAD:
            self._up.load.overloaded()
        self._failures += decision.counts
        self._uncounted += not decision.counts
        self._failed_on = self._last[0] if decision.action == "retry" else ""
        if decision.action == "give_up" or self._is_spent(decision):
            raise self._failed(decision.reason, decision.message)
        if time.monotonic() - self._began - self._queue > self._up.limits.deadline:
            late = "deadline"
            raise self._failed(late, f"not done in time; at last {decision.message}")
        self._up.stop.wait(self._pause(decision))
        self._raise_if_stopped()

    def _is_spent(self, decision: Decision) -> bool:
        if decision.counts:
            most = self._up.limits.max_attempts
            return self._failures >= min(decision.tries or most, most)
        return self._uncounted >= self._up.limits.max_refused

    def _pause(self, decision: Decision) -> float:
        limits = self._up.limits
        said = decision.signal.retry_after if decision.signal is not None else None
        if not decision.counts and (said is not None or self._is_limited(decision)):
            return 0.0  # the quota holds the key for as long as it takes, or has dropped it
        wait = backoff(
            self._failures + self._uncounted, base=limits.backoff, most=limits.max_backoff
        )
        return max(wait, min(said or 0.0, limits.max_backoff))

    def _is_limited(self, decision: Decision) -> bool:
        windows = self._up.app_ids[self._last[0]].windows
        return bool(windows) or decision.reason != "rate_limited"

    def _failed(self, reason: str, message: str) -> CallFailed:
        alias, endpoint, trace_id = self._last
        return CallFailed(
            f"{reason}: {self._up.scrub(message, _MESSAGE)}",
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
