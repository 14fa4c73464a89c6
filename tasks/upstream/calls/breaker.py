"""
Circuit breakers, one per endpoint: an upstream that is gone costs a few calls, not a run of them.

    closed --threshold failures in a row--> open --cooldown--> half-open: one probe
       ^                                      ^                      |
       +-------------- any answer ------------|------- success ------+
                                              +------- failure ------+  (cooldown doubles)

Failures are those of the transport and 5xx, over all keys of the endpoint. While it is open, calls
wait; once it has been open for `give_up_after` seconds they end with CircuitOpen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass

from tasks.core.errors import CircuitOpen

__all__ = ["Breakers"]

_POLL = 0.25


@dataclass(slots=True)
class _State:
    failures: int = 0
    opened_at: float | None = None
    retry_at: float = 0.0
    cooldown: float = 0.0
    probing: bool = False
    error: str = ""
    """The last failure, as the user may read it."""
    openings: int = 0
    probes: int = 0


class Breakers:
    """The breakers of all endpoints, shared by the threads of a process. Times in seconds."""

    def __init__(
        self,
        *,
        threshold: int = 10,
        cooldown: float = 1.0,
        max_cooldown: float = 30.0,
        give_up_after: float = 120.0,
    ) -> None:
        self.threshold = threshold
        self.cooldown = cooldown
        self.max_cooldown = max_cooldown
        self.give_up_after = give_up_after
        self._changed = threading.Condition()
        self._states: dict[str, _State] = {}

    def wait(self, endpoints: Collection[str], stop: threading.Event | None = None) -> set[str]:
        """Block until one of `endpoints` may be tried; return those that may not.

        Raises:
            CircuitOpen: all have been open for `give_up_after`; the next probe is not due yet.
        """
        if not any(self._is_open(endpoint) for endpoint in endpoints):
            return set()
        with self._changed:
            while True:
                shut = {endpoint for endpoint in endpoints if not self._may_try(endpoint)}
                if len(shut) < len(endpoints) or (stop is not None and stop.is_set()):
                    return shut
                self._raise_if_given_up(shut)
                self._changed.wait(min(_POLL, self._next_probe(shut)))

    def enter(self, endpoint: str) -> bool:
        """Whether a call may go out now; in half-open state only one may. Then `report` must follow."""
        if not self._is_open(endpoint):
            return True
        with self._changed:
            if not self._may_try(endpoint):
                return False
            state = self._states[endpoint]
            if state.opened_at is not None:
                state.probing = True
                state.probes += 1
            return True

    def report(self, endpoint: str, *, alive: bool | None, error: str = "") -> None:
        """The outcome of an entered call: the endpoint answered, failed, or (None) was not asked.

        `error` is what a failure said, without keys.
        """
        state = self._states.get(endpoint)
        if alive and (state is None or not (state.failures or state.opened_at)):
            return
        with self._changed:
            state = self._states.setdefault(endpoint, _State())
            if alive:
                self._close(state)
            elif alive is None:
                state.probing = False
            else:
                state.error = error
                self._fail(state)
            self._changed.notify_all()

    def statistics(self) -> dict[str, dict[str, object]]:
        """Per endpoint: state, failures in a row, how often it opened, probes sent."""
        with self._changed:
            return {
                endpoint: {
                    "state": "closed" if state.opened_at is None else "open",
                    "failures": state.failures,
                    "openings": state.openings,
                    "probes": state.probes,
                }
                for endpoint, state in self._states.items()
            }

    def _is_open(self, endpoint: str) -> bool:
        state = self._states.get(endpoint)
        return state is not None and state.opened_at is not None

    def _may_try(self, endpoint: str) -> bool:
        state = self._states.get(endpoint)
        if state is None or state.opened_at is None:
            return True
        return not state.probing and time.monotonic() >= state.retry_at

    def _next_probe(self, endpoints: Collection[str]) -> float:
        due = min(self._states[endpoint].retry_at for endpoint in endpoints) - time.monotonic()
        # A probe that is under way ends with a notification, not at a known time.
        return due if due > 0 else _POLL

    def _raise_if_given_up(self, endpoints: Collection[str]) -> None:
        opened = max(self._states[endpoint].opened_at or 0.0 for endpoint in endpoints)
        since = time.monotonic() - opened
        if since >= self.give_up_after:
            names = ", ".join(sorted(endpoints))
            errors = dict.fromkeys(self._states[endpoint].error for endpoint in sorted(endpoints))
            said = "; ".join(error for error in errors if error)
            msg = (
                f"{names} has failed for {since:.0f} s{f' ({said})' if said else ''}; its calls are "
                "left for the next run: check the endpoint, then start the run again"
            )
            raise CircuitOpen(msg)

    def _fail(self, state: _State) -> None:
        state.failures += 1
        now = time.monotonic()
        if state.opened_at is None and state.failures >= self.threshold:
            state.opened_at, state.cooldown = now, self.cooldown
            state.retry_at = now + state.cooldown
            state.openings += 1
        elif state.probing:
            state.cooldown = min(state.cooldown * 2, self.max_cooldown)
            state.retry_at = now + state.cooldown
        state.probing = False

    def _close(self, state: _State) -> None:
        state.failures, state.opened_at, state.probing = 0, None, False
