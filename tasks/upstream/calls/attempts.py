"""One call from its first attempt to its reply or its end: admission, client, decision, again."""

from __future__ import annotations

import random
import time
from functools import partial

from tasks.core.calls import Reply, Request, Usage
from tasks.core.errors import CallFailed, ReplyError, UpstreamError
from tasks.upstream.budget import Spend
from tasks.upstream.calls.admission import Admission
from tasks.upstream.calls.call_context import CallState, Upstream
from tasks.upstream.calls.completion import Completion
from tasks.upstream.calls.failure import FailedAttempt, FailureHandler
from tasks.upstream.calls.http_attempt import Attempt
from tasks.upstream.calls.refusal_breaker import Place
from tasks.upstream.calls.retry import Circumstances, RetryDecision, decide
from tasks.upstream.calls.transport import Probe
from tasks.upstream.quota import Grant, read_signal

__all__ = ["CallAttempts"]

_MESSAGE = 300  # characters kept of what a server says
_REFUSED = 400
_SAID = ("x-ratelimit", "anthropic-ratelimit")


def _trace_id() -> str:
    # A name and no secret, so without the kernel's randomness, which is a system call.
    return f"{random.getrandbits(128):032x}"


class CallAttempts:
    """Attempts of one call until a reply or an end. `run` is called once.

    The reply remembers `payer`: who it was paid for.
    """

    def __init__(self, upstream: Upstream, request: Request, payer: str = "") -> None:
        self._up = upstream
        self._payer = payer
        flex = request.flex_patience is not None
        self._state = CallState(request, upstream.endpoints(request.model), flex=flex)
        self._admission = Admission(upstream, self._state)
        self._failure = FailureHandler(upstream, self._state)

    def run(self) -> Reply:
        """The reply, after as many attempts as it takes.

        Raises:
            CallFailed: it is over, `code` says why.
            NoKeysLeft, QuotaHeld, OverBudget, CircuitOpen, Stopped: nothing more can be sent.
        """
        while True:
            grant, spend = self._await_grant()
            outcome = self._attempt(grant, spend)
            if isinstance(outcome, Reply):
                return outcome
            try:
                self._failure.handle(outcome)
            except CallFailed:
                if not outcome.decision.text.strip():
                    raise
                return self._reply_of_text(outcome)

    def _await_grant(self) -> tuple[Grant, Spend]:
        try:
            return self._admission.await_grant()
        except UpstreamError as error:
            self._state.tell(error)
            raise

    def _reply_of_text(self, failed: FailedAttempt) -> Reply:
        """The text that the server took for no JSON: what reads replies may make something of it."""
        completion = Completion(
            content=failed.decision.text,
            model=None,
            finish_reason="json_validate_failed",
            usage=Usage(),
            request_id=None,
            created=time.time(),
        )
        return self._reply(failed.attempt, completion, failed.grant)

    def _attempt(self, grant: Grant, spend: Spend) -> Reply | FailedAttempt:
        up, endpoint = self._up, self._up.app_ids[grant.app_id].base_url
        place = (endpoint, self._state.request.model)
        attempt, state = self._prepare(grant, place), self._state
        state.attempts += 1
        state.alias, state.endpoint, state.trace_id = grant.app_id, endpoint, attempt.trace_id
        up.counts.add("attempts")
        alive, outcome, said = None, None, ""
        try:
            outcome = self._send(attempt, grant, spend, endpoint)
            alive = True if isinstance(outcome, Reply) else outcome.decision.alive
            said = "" if alive or isinstance(outcome, Reply) else outcome.message
        finally:
            up.breakers.report(endpoint, alive=alive, error=said)
            if outcome is None:
                up.refusals.leave(place)
                up.budget.settle(spend, self._state.request, None)
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
        http = self._up.app_ids[grant.app_id].http
        request, flex = self._state.request, self._state.flex
        return Attempt(request, _trace_id(), probe, adaptation, http, flex=flex)

    def _send(
        self, attempt: Attempt, grant: Grant, spend: Spend, endpoint: str
    ) -> Reply | FailedAttempt:
        with self._up.pool.lease(grant.app_id, endpoint) as lease:
            try:
                completion = attempt.send(lease.client)
            except Exception as error:  # noqa: BLE001  (decide raises what is not the upstream's)
                decision = decide(error, self._circumstances(attempt))
                if decision.reconnect:
                    self._up.pool.replace(lease)
                usage = error.usage if isinstance(error, ReplyError) else None
                self._state.wasted = usage.plus(self._state.wasted) if usage else self._state.wasted
                said = self._up.scrub(decision.message, _MESSAGE)
                failed = FailedAttempt(decision, said, grant, attempt, lease.credentials)
                self._settle_failure(failed)
                self._book_failure(spend, decision, usage)
                return failed
        via = attempt.via(completion)
        self._up.budget.settle(spend, self._state.request, completion.usage, via)
        self._settle(grant, attempt, completion.usage.total_tokens)
        reply = self._reply(attempt, completion, grant)
        if self._up.load is not None:
            self._up.load.answered(reply.latency)
        return reply

    def _reply(self, attempt: Attempt, completion: Completion, grant: Grant) -> Reply:
        return attempt.reply(
            completion,
            app_id=grant.app_id,
            endpoint=self._up.app_ids[grant.app_id].base_url,
            queue=self._state.queue,
            attempts=self._state.attempts,
            wasted=self._state.wasted,
            paid_for=self._payer,
        )

    def _circumstances(self, attempt: Attempt) -> Circumstances:
        return Circumstances(
            reached=attempt.probe.reached,
            replying=attempt.replying,
            stream=self._state.request.stream,
            model=attempt.sent_model,
            headers=attempt.headers,
        )

    def _settle(self, grant: Grant, attempt: Attempt, tokens: int | None) -> None:
        headers = attempt.headers or {}
        if any(name.startswith(_SAID) for name in headers):
            self._up.quota.feedback(grant, read_signal(headers, now_epoch=time.time()))
        self._up.quota.settle(grant, tokens=tokens)

    def _settle_failure(self, failed: FailedAttempt) -> None:
        quota, decision = self._up.quota, failed.decision
        signal = failed.signal
        if self._failure.holds_model(failed):
            quota.refused_model(failed.grant)
        elif signal is not None:
            quota.feedback(failed.grant, signal)
        if decision.refund:
            quota.refund(failed.grant)
        else:
            quota.settle(failed.grant)

    def _book_failure(self, spend: Spend, decision: RetryDecision, usage: Usage | None) -> None:
        budget, refusal = self._up.budget, decision.refusal
        if decision.refund or (refusal is not None and refusal.status >= _REFUSED):
            budget.settle_unpaid(spend, sent=not decision.refund)
        else:
            # A reply that was lost may be charged for.
            budget.settle(spend, self._state.request, usage)

    def _answered(self, place: Place, grant: Grant, attempt: Attempt) -> None:
        up, state = self._up, self._state
        up.refusals.succeeded(place)
        up.quota.answered(grant)
        up.pool.keys.answered(grant.app_id)
        up.adaptations.taken(place, attempt.body)
        out = up.suspects.answered(
            grant.app_id, state.request.model, state.request.key, set(state.refused_by)
        )
        for alias in out:
            up.quota.disable(alias, "refused what another app_id was answered")
