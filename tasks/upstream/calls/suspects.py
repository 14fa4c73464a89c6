"""
Who is to blame for a refusal that names a key, its account or its model: the key, or the question.

A refusal is a suspicion. A key is out when a second, different question, sent after the first was
refused, is refused too, with no answer in between; where only the status says so, questions count
that another key has answered, or three of them. A model is out on a key at its first refusal there,
or at the third in a row once that key has used it; other models go on. So they do where a key's quota
of one model is used up for longer than anybody waits. The processes of a run tell
each other by notes in the ledger, so that a key is refused a model once and not once a process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import orjson

from tasks.upstream.calls.refusal_breaker import Notes
from tasks.upstream.calls.refusals import Refusal

__all__ = ["ModelHold", "Suspects", "held_models"]

_CERTAIN, _UNCERTAIN = 2, 3  # different questions
_MODEL_AGAIN = 3  # refusals in a row
_REST = 600.0  # seconds until a model is tried again on a key that refused it
_NAME = '["model refused",'
_Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Out:
    """A model that a key does not serve until then."""

    until: float
    said: str
    held: bool
    """Its quota is used up; False: the key may not use it."""


@dataclass(frozen=True, slots=True)
class ModelHold:
    """A model's own quota on one app_id, used up."""

    alias: str
    model: str
    until: float
    """Seconds since the epoch; one that is over is in the past."""
    said: str
    """The provider's words, scrubbed."""


@dataclass(slots=True)
class _Key:
    questions: dict[str, bool] = field(default_factory=dict)
    """Refused without an answer since: whether the refusal was certain of the key."""
    since: float = 0.0
    """When the last one that counts was heard of."""


class Suspects:
    """The suspicions of a process; threads share one object. Instants on time.monotonic()."""

    def __init__(self, notes: Notes, run_id: str = "") -> None:
        self._notes = notes
        self._run_id = run_id
        self._read: Mapping[str, str] = {}
        """The notes as last looked at."""
        self._seen: dict[str, str] = {}
        self._lock = threading.Lock()
        self._keys: dict[str, _Key] = {}
        self._proved: set[tuple[str, str]] = set()
        self._refused: dict[tuple[str, str], int] = {}
        self._out: dict[tuple[str, str], _Out] = {}

    def key_refused(self, alias: str, question: str, refusal: Refusal, sent: float) -> bool:
        """One more refusal of a key; True: the key is out. `sent`: when the request was."""
        with self._lock:
            key = self._keys.setdefault(alias, _Key())
            if question not in key.questions and sent < key.since:
                return False  # of the same burst
            key.questions[question] = refusal.certain or key.questions.get(question, False)
            key.since = time.monotonic()
            return self._is_out(key)

    def answered(self, alias: str, model: str, question: str, refused_by: set[str]) -> set[str]:
        """A question was answered on a key; the aliases that are out because they refused it."""
        with self._lock:
            self._proved.add((alias, model))
            self._keys.pop(alias, None)
            self._refused.pop((alias, model), None)
            if self._out.pop((alias, model), None):
                self._tell((alias, model), _Out(0.0, "", held=False))
            if not refused_by:
                return set()
            suspects = {a: self._keys[a] for a in refused_by if a in self._keys}
            for key in suspects.values():
                if question in key.questions:
                    key.questions[question] = True
            return {name for name, key in suspects.items() if self._is_out(key)}

    def model_refused(self, alias: str, model: str, message: str) -> None:
        """A key was told that it may not use a model."""
        with self._lock:
            pair = alias, model
            count = self._refused[pair] = self._refused.get(pair, 0) + 1
            if pair not in self._proved or count >= _MODEL_AGAIN:
                self._put_out(pair, _REST, message, held=False)

    def model_held(self, alias: str, model: str, wait: float, message: str) -> None:
        """A key's quota of a model is used up for `wait` seconds; other models go on."""
        with self._lock:
            self._put_out((alias, model), wait, message, held=True)

    def hold(self, model: str, aliases: Collection[str]) -> tuple[float, str] | None:
        """Where no alias may use the model and a quota ends: when, on time.time(), and what was said."""
        if not self._out:
            return None
        out = {alias: self._out.get((alias, model)) for alias in aliases}
        now = time.monotonic()
        if not all(one and now < one.until for one in out.values()):
            return None
        held = [(one.until, f"{a}: {one.said}") for a, one in out.items() if one and one.held]
        if not held:
            return None
        until, said = min(held)
        return time.time() + until - now, said

    def without(self, model: str) -> dict[str, str]:
        """Aliases that may not use the model, with what their provider said."""
        notes = self._notes.notes
        if notes is not self._read:
            with self._lock:
                self._learn(notes)
        if not self._out:
            return {}
        now = time.monotonic()
        with self._lock:
            out = {a: one for (a, m), one in self._out.items() if m == model}
        return {alias: one.said for alias, one in out.items() if now < one.until}

    def _put_out(self, pair: _Pair, rest: float, message: str, *, held: bool) -> None:
        self._out[pair] = _Out(time.monotonic() + rest, message, held)
        self._tell(pair, self._out[pair])

    def _tell(self, pair: _Pair, out: _Out) -> None:
        name = orjson.dumps(["model refused", *pair]).decode()
        until = time.time() + out.until - time.monotonic()
        known = {"run": self._run_id, "until": until, "said": out.said, "held": out.held}
        self._seen[name] = orjson.dumps(known).decode()
        self._notes.note(name, self._seen[name])

    def _learn(self, notes: Mapping[str, str]) -> None:
        """Take what other processes of this run wrote since."""
        for name, note in notes.items():
            if not name.startswith(_NAME) or note == self._seen.get(name):
                continue
            self._seen[name] = note
            _, alias, model = orjson.loads(name)
            known = orjson.loads(note)
            rest = known["until"] - time.time()
            if known["run"] != self._run_id:
                continue
            if rest > 0:
                held = bool(known.get("held"))
                self._out[alias, model] = _Out(time.monotonic() + rest, known["said"], held)
            else:
                self._out.pop((alias, model), None)
        self._read = notes

    def _is_out(self, key: _Key) -> bool:
        sure = sum(key.questions.values())
        return sure >= _CERTAIN or len(key.questions) >= _UNCERTAIN


def held_models(notes: Mapping[str, str], run_id: str) -> list[ModelHold]:
    """Of what a run's processes noted: the quotas of single models that are used up, by alias and model."""
    found = []
    for name in sorted(notes):
        if name.startswith(_NAME):
            known = orjson.loads(notes[name])
            if known["run"] == run_id and known.get("held"):
                _, alias, model = orjson.loads(name)
                found.append(ModelHold(alias, model, known["until"], known["said"]))
    return found
