"""
What each (endpoint, model) refuses in our requests, learnt once for all processes and later runs.

The rules are those of adaptation; here is who knows what. Notes in the ledger carry it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import orjson

from tasks.upstream.calls.adaptation import Adaptation, adapt, read_adaptation
from tasks.upstream.calls.refusal_breaker import Notes, Place
from tasks.upstream.calls.refusals import Refusal

__all__ = ["Adaptations", "adaptation_at"]

_log = logging.getLogger(__name__)


class Adaptations:
    """The adaptations of a process; threads share one object."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._lock = threading.Lock()
        self._known: dict[Place, Adaptation] = {}
        self._seen: dict[Place, str] = {}
        self._formats: set[tuple[Place, str]] = set()
        """Reply formats that were taken."""
        self._before: dict[Place, Adaptation] = {}
        """What was known before a format was lowered because of unknown words."""
        self._hopeless: set[Place] = set()
        """Where that has not helped."""

    def at(self, place: Place) -> Adaptation:
        """What is known of an endpoint and model."""
        note = self._notes.notes.get(_name(place), "")
        if note and note != self._seen.get(place):
            with self._lock:
                self._seen[place] = note
                self._known[place] = self._known.get(place, Adaptation()).merge(_read(note))
        return self._known.get(place, Adaptation())

    def learn(self, place: Place, sent: Mapping[str, Any], used: Adaptation, of: Refusal) -> bool:
        """Take a refusal of the body `sent`, which `used` made; True: send it again, adapted."""
        with self._lock:
            known = self._known.get(place, Adaptation())
            if known != used:
                return True  # another call has learnt something since
            if of.about == "input":
                return self._try(place, sent, known, of)
            found = adapt(sent, of, known)
            if found is None or found == known:
                return False
            self._known[place] = found
        self._tell(place, found)
        return True

    def taken(self, place: Place, sent: Mapping[str, Any]) -> None:
        """The body `sent` was answered, so its reply format is one that is taken there."""
        pair = place, _format(sent)
        if pair not in self._formats:
            with self._lock:
                self._formats.add(pair)
                tried = self._before.pop(place, None)
            if tried is not None:
                self._tell(place, self._known[place])

    def _try(self, place: Place, sent: Mapping[str, Any], known: Adaptation, of: Refusal) -> bool:
        """Unknown words may mean the reply format, but not where that format has been taken."""
        if place in self._hopeless or (place, _format(sent)) in self._formats:
            return False
        before = self._before.setdefault(place, known)
        found = adapt(sent, of, known)
        if found is None:
            self._known[place] = before
            del self._before[place]
            self._hopeless.add(place)
            return False
        self._known[place] = found
        return True

    def _tell(self, place: Place, found: Adaptation) -> None:
        _log.warning("%s at %s: %s", place[1], place[0], found.describe())
        self._notes.note(_name(place), orjson.dumps(found.record()).decode())

    def describe(self) -> dict[str, str]:
        """What is adapted, as sentences by "model at endpoint"."""
        known = dict(self._known)
        return {f"{model} at {url}": a.describe() for (url, model), a in known.items() if a}


def adaptation_at(place: Place, notes: Mapping[str, str]) -> Adaptation:
    """What the notes of a ledger say of an endpoint and model."""
    return _read(notes.get(_name(place), ""))


def _format(sent: Mapping[str, Any]) -> str:
    asked = sent.get("response_format")
    return str(asked.get("type")) if isinstance(asked, Mapping) else "text"


def _read(note: str) -> Adaptation:
    try:
        return read_adaptation(orjson.loads(note))
    except orjson.JSONDecodeError:
        return Adaptation()


def _name(place: Place) -> str:
    return orjson.dumps(["adaptation", *place]).decode()
