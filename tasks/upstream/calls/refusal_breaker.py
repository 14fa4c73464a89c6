"""
The canary and the refusal breaker of each (endpoint, model): a request that is refused whatever it
asks costs a handful of calls, not a run of them.

    unproven --success--> 2, 4, 8 ... calls in flight --success--> proven: any number
        |                                                            |
        +----------- five equal refusals without a success ----------+--> closed: none
    closed --pause--> one probe --success--> proven
                                --refusal--> closed, the pause doubles

A call that hangs must not stop all others: every `patience` seconds one more may go. What is known
is shared with other processes, and with later runs, as notes in the ledger; a later run asks once
more before it believes that a model is closed. Times in seconds.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from tasks.core.errors import CallFailed
from tasks.upstream.calls.refusals import Refusal

__all__ = ["Place", "RefusalBreakers", "closed_at"]

_SAME = 5  # equal refusals in a row
_MANY = 25  # of those that may be the questions' own, once a question has been answered
_DOUBLINGS = 6  # successes after which any number may be in flight
_PATIENCE = 10.0
_POLL = 0.25
_PAUSE, _LONGEST_PAUSE = 60.0, 1800.0
_OF_ALL = frozenset({"model", "endpoint", "parameter", "format"})
_OF_ONE_KEY = frozenset({"key", "money", "model", "wait"})
_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|[\w-]*\d[\w-]*")

Place = tuple[str, str]
"""An endpoint's base_url and a model."""


class Notes(Protocol):
    """Texts by name that all processes and runs share."""

    @property
    def notes(self) -> Mapping[str, str]: ...
    def note(self, name: str, value: str) -> None: ...


@dataclass(slots=True)
class _State:
    successes: int = 0
    flying: int = 0
    entered: float = 0.0
    extra: int = 0
    """Places given away out of impatience."""
    equal: tuple[Any, ...] = ()
    count: int = 0
    message: str = ""
    closed: bool = False
    retry_at: float = 0.0
    pause: float = 0.0
    probing: bool = False
    seen: str = ""
    """The note as last looked at."""
    wrote: str = ""
    """The note as last written by us, which may not be there yet."""

    @property
    def free(self) -> bool:
        return self.successes >= _DOUBLINGS and not self.closed


class RefusalBreakers:
    """The states of all (endpoint, model) of a process; threads share one object."""

    def __init__(
        self,
        notes: Notes,
        *,
        run_id: str = "",
        patience: float = _PATIENCE,
        pause: float = _PAUSE,
    ) -> None:
        self._notes = notes
        self._run_id = run_id
        self._patience = patience
        self._pause = pause
        self._changed = threading.Condition()
        self._states: dict[Place, _State] = {}

    def enter(self, places: Collection[Place], check: Callable[[], None]) -> list[Place]:
        """Wait for a place at one of `places`, and take one at each that has room.

        `leave` must follow for each. `check` is called while waiting and may raise.

        Raises:
            CallFailed: code refused_by_endpoint; all are closed, with the provider's sentence.
        """
        with self._changed:
            while True:
                states = {place: self._state(place) for place in places}
                now = time.monotonic()
                entered = [place for place, state in states.items() if self._has_room(state, now)]
                if entered:
                    for place in entered:
                        self._take(states[place], now)
                    return entered
                self._raise_if_closed(states, now)
                self._changed.wait(_POLL)
                check()

    def leave(self, place: Place) -> None:
        """Give a place back without an outcome."""
        with self._changed:
            self._give_back(self._states[place])

    def succeeded(self, place: Place) -> None:
        """A call was answered; gives its place back."""
        with self._changed:
            state = self._states[place]
            self._give_back(state)
            new = state.closed or state.successes + 1 == _DOUBLINGS
            state.successes = _DOUBLINGS if state.closed else state.successes + 1
            state.closed, state.count, state.equal = False, 0, ()
            if new:
                self._write(place, state)

    def refused(self, place: Place, refusal: Refusal, message: str) -> bool:
        """A call was refused; gives its place back. True: this one closed the model there.

        What is one key's own is not held against the endpoint: other keys may be served.
        """
        with self._changed:
            state = self._states[place]
            probe = state.probing
            self._give_back(state)
            if refusal.about in _OF_ONE_KEY and not probe:
                return False
            equal = (refusal.about, refusal.code, refusal.parameter, _normal(refusal.sentence))
            state.count = state.count + 1 if equal == state.equal else 1
            state.equal, state.message = equal, message
            most = _SAME if not state.successes or refusal.about in _OF_ALL else _MANY
            if state.closed or state.count >= most:
                return self._close(place, state)
            return False

    def doubted(self, place: Place, refusal: Refusal, message: str) -> None:
        """A call failed in a way that the next one may not meet; gives its place back.

        It counts until something is answered: what fails however often it is asked is closed as early.
        """
        state = self._states[place]
        if state.successes or state.closed:
            self.leave(place)
        else:
            self.refused(place, refusal, message)

    def close(self, place: Place, message: str) -> None:
        """No key is left that the endpoint lets use the model."""
        with self._changed:
            state = self._state(place)
            if not state.closed:
                state.message = message
                self._close(place, state)

    def said(self, place: Place) -> str:
        """The last refusal in the provider's words; empty: there was none, or it was one key's own."""
        with self._changed:
            return self._state(place).message

    def _close(self, place: Place, state: _State) -> bool:
        first = not state.closed
        state.pause = (
            self._pause if first else min(max(self._pause, 2 * state.pause), _LONGEST_PAUSE)
        )
        state.closed, state.retry_at = True, time.monotonic() + state.pause
        self._write(place, state)
        self._changed.notify_all()
        return first

    def _state(self, place: Place) -> _State:
        state = self._states.setdefault(place, _State())
        note, before = self._notes.notes.get(_name(place), ""), state.seen
        state.seen = note
        if note not in {before, state.wrote}:
            _learn(state, note, self._run_id)
        return state

    def _write(self, place: Place, state: _State) -> None:
        until = time.time() + state.retry_at - time.monotonic()
        known = {"run": self._run_id, "closed": state.closed, "until": until}
        state.wrote = orjson.dumps({**known, "message": state.message}).decode()
        self._notes.note(_name(place), state.wrote)

    def _has_room(self, state: _State, now: float) -> bool:
        if state.closed:
            return not state.probing and now >= state.retry_at
        if state.free or state.flying < 2**state.successes + state.extra:
            return True
        if now - state.entered < self._patience:
            return False
        state.extra += 1
        return True

    def _take(self, state: _State, now: float) -> None:
        state.flying += 1
        state.entered = now
        state.probing = state.closed

    def _give_back(self, state: _State) -> None:
        state.flying -= 1
        state.probing = False
        if not state.free or state.flying == 0:
            self._changed.notify_all()

    def _raise_if_closed(self, states: Mapping[Place, _State], now: float) -> None:
        if not all(state.closed for state in states.values()):
            return
        place, state = next(iter(states.items()))
        wait = max(0.0, state.retry_at - now)
        msg = (
            f"refused_by_endpoint: {place[0]} refuses every request for {place[1]}, so none is "
            f"sent for {wait:.0f} s: {state.message}"
        )
        raise CallFailed(msg, code="refused_by_endpoint", endpoint=place[0])


def closed_at(place: Place, notes: Mapping[str, str], run_id: str) -> str | None:
    """The last words of an endpoint that is closed for a model in this run; None: it is not."""
    known = _read(notes.get(_name(place), ""))
    closed = known.get("closed") and known.get("run") == run_id
    return str(known.get("message", "")) if closed else None


def _learn(state: _State, note: str, run_id: str) -> None:
    known = _read(note)
    ours = known.get("run") == run_id
    if known.get("closed"):
        state.closed, state.message = True, str(known.get("message", ""))
        until = known.get("until", 0.0) if ours else 0.0  # a later run asks once more
        state.retry_at = time.monotonic() + max(0.0, until - time.time())
    elif ours and known:
        state.closed, state.successes = False, max(state.successes, _DOUBLINGS)


def _read(note: str) -> dict[str, Any]:
    try:
        found = orjson.loads(note) if note else {}
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _name(place: Place) -> str:
    return orjson.dumps(["refused", *place]).decode()


def _normal(sentence: str) -> str:
    return _VARIABLE.sub("#", sentence.lower())[:120]
