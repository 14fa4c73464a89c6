"""Consequences of a failed attempt: adapt the request, suspect the key, back off, or give the call up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus

from tasks.upstream.calls.call_context import CallState, Upstream
from tasks.upstream.calls.http_attempt import Attempt
from tasks.upstream.calls.key_ring import Credentials
from tasks.upstream.calls.refusals import Refusal
from tasks.upstream.calls.retry import RetryDecision, backoff
from tasks.upstream.quota import Grant, Signal, read_signal

__all__ = ["FailedAttempt", "FailureHandler"]

_ADAPTABLE = frozenset({"parameter", "format", "input"})
_READ = frozenset({400, 422})  # statuses of a request that was read and refused
_OK = 200
_NO_ROOM = frozenset({429, 498})
_FLEX_PAUSE = 30.0
"""Most seconds between two tries of a tier that has no room."""
_NO_ANSWER = frozenset({"bad_reply", "empty_reply"})
_OVERLOAD = frozenset({"overloaded", "rate_limited", "timeout"})


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One failed attempt; `message` is the provider's, scrubbed."""

    decision: RetryDecision
    message: str
    grant: Grant
    attempt: Attempt
    credentials: Credentials

    @property
    def lacks_room(self) -> bool:
        """Whether the flex tier had no room: not charged, no error, and no limit of the key's."""
        refusal = self.decision.refusal
        if refusal is None or not self.attempt.asks_flex:
            return False
        return refusal.about == "try_again" and refusal.status in _NO_ROOM

    @property
    def signal(self) -> Signal | None:
        """What the quota hears of it."""
        refusal = self.decision.refusal
        if self.lacks_room or refusal is None or (refusal.about != "wait" and refusal.wait is None):
            return None
        limited = refusal.about == "wait" and refusal.status == HTTPStatus.TOO_MANY_REQUESTS
        return read_signal(
            self.attempt.refused_headers,
            now_epoch=time.time(),
            kind="rate_limited" if limited else "hold",
            wait=refusal.wait,
            reason=self.message,
        )


class FailureHandler:
    """Draws the consequences of each failed attempt of one call."""

    def __init__(self, upstream: Upstream, state: CallState) -> None:
        self._up = upstream
        self._state = state

    def handle(self, failed: FailedAttempt) -> None:
        """Back off before the next attempt; a request that has been adapted goes again at once.

        Raises:
            CallFailed: there is no next one.
            Stopped: the run is being stopped.
        """
        decision = failed.decision
        if failed.lacks_room and self._state.flex:
            self._await_flex()
            return
        self._up.counts.add("failed_attempts", decision.reason)
        if self._up.load is not None and decision.reason in _OVERLOAD:
            self._up.load.overloaded()
        self._state.failed_on = self._state.alias if decision.action == "retry" else ""
        if self._is_adapted(failed):
            self._state.uncounted += 1
            self._raise_if_spent(failed)
            self._up.raise_if_stopped()
            return
        again = self._judge(failed)
        self._state.failures += decision.counts
        self._state.uncounted += not decision.counts
        if not again and decision.action == "give_up":
            raise self._state.failed(decision.reason, failed.message)
        self._raise_if_spent(failed)
        if time.monotonic() - self._state.began - self._state.queue > self._up.limits.deadline:
            late = "deadline"
            raise self._state.failed(late, f"not done in time; at last {failed.message}")
        self._up.stop.wait(self._pause(failed))
        self._up.raise_if_stopped()

    def _await_flex(self) -> None:
        """Try the flex tier again a little later; after flex_patience the call goes as standard.

        Raises:
            Stopped: the run is being stopped.
        """
        state, up = self._state, self._up
        up.counts.add("failed_attempts", "no_flex_room")
        up.refusals.leave(state.place)
        state.flex_refused += 1
        passed = time.monotonic() - state.began - state.queue
        left = (state.request.flex_patience or 0.0) - passed
        if left <= 0:
            up.counts.add("flex_as_standard")
            state.flex = False
            return
        pause = backoff(state.flex_refused, base=up.limits.backoff, most=_FLEX_PAUSE)
        up.stop.wait(min(pause, left))
        up.raise_if_stopped()

    def holds_model(self, failed: FailedAttempt) -> bool:
        """Whether only the model waits, and for longer than anybody would: then the key goes on."""
        refusal, up = failed.decision.refusal, self._up
        if refusal is None or refusal.about != "wait" or not refusal.of_model:
            return False
        if (refusal.wait or 0.0) <= up.quota.longest_wait:
            return False
        model = self._state.request.model
        up.suspects.model_held(self._state.alias, model, refusal.wait or 0.0, failed.message)
        return True

    def _is_adapted(self, failed: FailedAttempt) -> bool:
        refusal, attempt = failed.decision.refusal, failed.attempt
        if refusal is None or refusal.about not in _ADAPTABLE:
            return False
        place = self._state.place
        if refusal.about == "input" and (refusal.certain or refusal.status not in _READ):
            return False
        if not self._up.adaptations.learn(place, attempt.body, attempt.adaptation, refusal):
            return False
        if refusal.about == "input":
            self._up.refusals.refused(place, refusal, failed.message)
        else:
            self._up.refusals.doubted(place, refusal, failed.message)
        return True

    def _judge(self, failed: FailedAttempt) -> bool:
        """Draw the consequences of a refusal. True: another key may answer the question."""
        refusal, place = failed.decision.refusal, self._state.place
        if refusal is None:
            self._judge_reply(failed)
            return False
        if self._is_renewed(failed, refusal):
            self._up.refusals.leave(place)
            return False
        try:
            return self._may_be_answered(failed, refusal)
        finally:  # who has waited for the place has to meet what is known now
            if refusal.about == "try_again" and refusal.status != _OK:
                self._up.refusals.leave(place)
            else:
                self._up.refusals.refused(place, refusal, failed.message)

    def _may_be_answered(self, failed: FailedAttempt, refusal: Refusal) -> bool:
        """Suspect key, model or question. True: another key may answer it."""
        alias = self._state.alias
        match refusal.about:
            case "key" | "money" if refusal.wait is None:
                self._judge_key(failed, refusal)
            case "model":
                self._up.suspects.model_refused(alias, self._state.request.model, failed.message)
            case "input" if not refusal.certain:
                self._state.questioned.add(alias)
                return len(self._state.questioned) == 1 and bool(self._others())
        return False

    def _judge_reply(self, failed: FailedAttempt) -> None:
        """An accident, unless the endpoint has never sent anything else: then it is no model's."""
        place = self._state.place
        if failed.decision.reason not in _NO_ANSWER:
            self._up.refusals.leave(place)
            return
        message = f"HTTP {_OK}: {failed.message}"
        as_said = Refusal("endpoint", None, None, failed.message, None, certain=False, status=_OK)
        self._up.refusals.doubted(place, as_said, message)

    def _is_renewed(self, failed: FailedAttempt, refusal: Refusal) -> bool:
        """Whether there is a newer key than the refused one, which is read before others ask."""
        keys, alias = self._up.pool.keys, self._state.alias
        return (
            refusal.about == "key"
            and refusal.wait is None
            and keys.refresh(alias, failed.credentials)
        )

    def _judge_key(self, failed: FailedAttempt, refusal: Refusal) -> None:
        """Suspect the key; raises CallFailed when the question is the suspect, or no key is left."""
        up, alias = self._up, self._state.alias
        sent = failed.attempt.probe.started
        if up.suspects.key_refused(alias, self._state.request.key, refusal, sent):
            reason = f"{failed.decision.reason}: {failed.message}"
            up.quota.feedback(failed.grant, Signal("out", reason=reason))
            self._state.refused_by[alias] = True
            return
        again = alias in self._state.refused_by
        self._state.refused_by[alias] = refusal.certain
        second = len(self._state.refused_by) > 1 and not any(self._state.refused_by.values())
        if second or again:  # it is asked again on a key only where no other is left
            raise self._state.failed(failed.decision.reason, failed.message)

    def _others(self) -> set[str]:
        """Aliases that serve the model and have not refused this question."""
        out = self._up.suspects.without(self._state.request.model)
        return self._state.aliases - {*self._state.refused_by, *self._state.questioned, *out}

    def _raise_if_spent(self, failed: FailedAttempt) -> None:
        decision, limits = failed.decision, self._up.limits
        if decision.counts and decision.action != "give_up":
            tries = decision.tries or limits.max_attempts
            spent = self._state.failures >= min(tries, limits.max_attempts)
        else:
            spent = self._state.uncounted >= limits.max_refused
        if spent:
            raise self._state.failed(decision.reason, failed.message)

    def _pause(self, failed: FailedAttempt) -> float:
        limits, decision, state = self._up.limits, failed.decision, self._state
        said = None if decision.refusal is None else decision.refusal.wait
        if not decision.counts and (said is not None or self._is_limited(decision)):
            return 0.0  # the quota holds the key for as long as it takes, or has dropped it
        wait = backoff(
            state.failures + state.uncounted, base=limits.backoff, most=limits.max_backoff
        )
        return max(wait, min(said or 0.0, limits.max_backoff))

    def _is_limited(self, decision: RetryDecision) -> bool:
        windows = self._up.app_ids[self._state.alias].windows
        return decision.reason == "rate_limited" and bool(windows)
