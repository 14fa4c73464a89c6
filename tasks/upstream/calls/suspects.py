"""
Who is to blame for a refusal that names a key, its account or its model: the key, or the question.

A refusal is a suspicion. A key is out when a second, different question, sent after the first was
refused, is refused too, with no answer in between; where only the status says so, questions count
that another key has answered, or three of them. A model is out on a key at its first refusal there,
or at the third in a row once that key has used it; other models go on. The processes of a run tell
each other by notes in the ledger, so that a key is refused a model once and not once a process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from tasks.upstream.calls.refusal_breaker import Notes
from tasks.upstream.calls.refusals import Refusal

__all__ = ["Suspects"]

_CERTAIN, _UNCERTAIN = 2, 3  # different questions
_MODEL_AGAIN = 3  # refusals in a row
_REST = 600.0  # seconds until a model is tried again on a key that refused it
_NAME = '["model refused",'
_Pair = tuple[str, str]


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
        self._out: dict[tuple[str, str], tuple[float, str]] = {}

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
                self._tell((alias, model), 0.0, "")
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
                self._out[pair] = (time.monotonic() + _REST, message)
                self._tell(pair, _REST, message)

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
            return {a: said for (a, m), (at, said) in self._out.items() if m == model and now < at}

    def _tell(self, pair: _Pair, rest: float, message: str) -> None:
        name = orjson.dumps(["model refused", *pair]).decode()
        known = {"run": self._run_id, "until": time.time() + rest, "said": message}
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
                self._out[alias, model] = (time.monotonic() + rest, known["said"])
            else:
                self._out.pop((alias, model), None)
        self._read = notes

    def _is_out(self, key: _Key) -> bool:
        sure = sum(key.questions.values())
        return sure >= _CERTAIN or len(key.questions) >= _UNCERTAIN
