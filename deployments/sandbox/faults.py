"""Faults that the sandbox can inject, and when: by rate, by rule, or by a marker in the prompt."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Fault", "FaultPicker", "FaultRule", "Sighting", "chance"]

_MARKER = re.compile(r"\[\[sandbox:\s*([a-z0-9_]+)(?:\s*\*\s*(\d+))?\s*\]\]")


class Fault(StrEnum):
    """Every fault by name. Where rates hit twice, the one listed first is injected."""

    # The connection.
    RESET_BEFORE = "reset_before"  # reset after the headers, the body is never read
    RESET_AFTER = "reset_after"  # reset after the whole request is read, before any answer
    RESET_MID = "reset_mid"  # reset after half of the reply
    HANG = "hang"  # no answer at all
    STALL = "stall"  # half of the reply, then silence
    TRUNCATED = "truncated"  # half of the reply, ended as if whole; a stream is cut in mid-event

    # A refusal with a status.
    STATUS_400 = "status_400"
    STATUS_401 = "status_401"
    STATUS_402 = "status_402"
    STATUS_403 = "status_403"
    STATUS_429 = "status_429"  # rate limit, although the quota allowed it
    STATUS_500 = "status_500"
    STATUS_502 = "status_502"
    STATUS_503 = "status_503"
    STATUS_529 = "status_529"
    INSUFFICIENT_QUOTA = "insufficient_quota"  # 429 that no waiting cures
    RESPONSE_FORMAT = "response_format"  # 400: the model does not know response_format
    CONTEXT_LENGTH = "context_length"  # 400: the prompt is too long
    CONTENT_POLICY = "content_policy"  # 400: the prompt was filtered
    MODEL_DENIED = "model_denied"  # 403: this key may not use this model
    BUDGET_HOLD = "budget_hold"  # 402 with Retry-After: what is in flight would cost too much
    JSON_VALIDATE = "json_validate"  # 400: the model's answer was no JSON
    CAPACITY = "capacity"  # 498: no room in the cheap tier
    FLEX_UNAVAILABLE = "flex_unavailable"  # 429 of a flex request that is not counted; no other's
    ECHO_KEY = "echo_key"  # 401 that repeats the key it was sent
    ECHO_KEY_500 = "echo_key_500"  # the same in a 500

    # 200, and a body that is no completion.
    WRONG_TYPE = "wrong_type"  # an HTML page
    ERROR_BODY = "error_body"  # {"error": ...}
    EMPTY_CHOICES = "empty_choices"

    # A completion whose content is no use.
    NULL_CONTENT = "null_content"
    REFUSAL = "refusal"
    LENGTH = "length"  # content cut in the middle, finish_reason "length"
    REASONING_SPENT = "reasoning_spent"  # no content: thinking took all tokens; "length"
    BROKEN_OFF = "broken_off"  # half of the content, a finish_reason that says so, perhaps an error
    CONTENT_FILTER = "content_filter"  # content cut, finish_reason "content_filter"
    BROKEN_JSON = "broken_json"
    PROSE = "prose"
    FENCED = "fenced"  # good JSON inside a Markdown fence and prose
    TRAILING_COMMAS = "trailing_commas"
    HUGE = "huge"  # good JSON, padded to `huge_bytes`


_NAMES = frozenset(str(fault) for fault in Fault)


class FaultRule(BaseModel):
    """A scripted fault; every condition that is given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fault: Fault
    match: str = ""
    """A text in the prompt."""
    nth: tuple[int, ...] | None = None
    """Which requests since the last reset, from 1."""
    model: str | None = None
    key: str | None = None
    """Alias."""
    tier: Literal["online", "flex", "batch"] | None = None
    """Of normal requests, of those with service_tier "flex", or of the rows of batches."""
    times: int | None = Field(default=None, ge=1)
    """Fires this often at most."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One request as a fault sees it; `text`, `model` and `sha` are "" until the body is read."""

    n: int
    """Which request since the last reset, from 1."""
    key: str
    sha: str = ""
    attempt: int = 1
    """Which arrival of this very body, from 1."""
    model: str = ""
    text: str = ""
    tier: str = "online"


def chance(seed: int, *what: object) -> float:
    """A number in [0, 1) that depends on its arguments only, so on no order of arrival."""
    text = "\x1f".join(map(str, (seed, *what)))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / (1 << 53)


@dataclass(slots=True)
class FaultPicker:
    """Chooses the fault of a request: marker, then rules, then rates.

    A rate is drawn per fault from (seed, fault, body, attempt): the same request meets the same
    fate however many others are in flight, and its retry draws anew.
    """

    seed: int
    rates: Mapping[Fault, float]
    rules: tuple[FaultRule, ...]
    markers: bool
    _fired: Counter[int] = field(default_factory=Counter)
    _drawn: list[tuple[Fault, float]] = field(init=False)

    def __post_init__(self) -> None:
        # Listed once, in order of precedence: most runs inject nothing.
        later = [fault for fault in Fault if fault is not Fault.RESET_BEFORE]
        self._drawn = [(fault, self.rates[fault]) for fault in later if self.rates.get(fault)]

    def early(self, seen: Sighting) -> Fault | None:
        """The fault that needs no body: reset_before, drawn by number of arrival."""
        early = Fault.RESET_BEFORE
        if self._ruled(seen, wanted=early):
            return early
        rate = self.rates.get(early, 0.0)
        return early if rate and chance(self.seed, early, seen.n) < rate else None

    def pick(self, seen: Sighting) -> Fault | None:
        """The fault of a request whose body was read."""
        return self._marked(seen) or self._ruled(seen) or self._draw(seen)

    def _marked(self, seen: Sighting) -> Fault | None:
        # A plain substring test first: the marker is rare and the prompts are long.
        if not self.markers or "[[sandbox:" not in seen.text:
            return None
        for name, times in _MARKER.findall(seen.text):
            due = not times or seen.attempt <= int(times)
            if due and name in _NAMES and _possible(Fault(name), seen):
                return Fault(name)
        return None

    def _ruled(self, seen: Sighting, wanted: Fault | None = None) -> Fault | None:
        for index, rule in enumerate(self.rules):
            early = rule.fault is Fault.RESET_BEFORE and not rule.match and rule.model is None
            if early is (wanted is None) or not self._applies(index, rule, seen):
                continue
            self._fired[index] += 1
            return rule.fault
        return None

    def _applies(self, index: int, rule: FaultRule, seen: Sighting) -> bool:
        return (
            (rule.times is None or self._fired[index] < rule.times)
            and (rule.nth is None or seen.n in rule.nth)
            and (rule.model is None or rule.model == seen.model)
            and (rule.key is None or rule.key == seen.key)
            and (rule.tier is None or rule.tier == seen.tier)
            and _possible(rule.fault, seen)
            and rule.match in seen.text
        )

    def _draw(self, seen: Sighting) -> Fault | None:
        for fault, rate in self._drawn:
            if chance(self.seed, fault, seen.sha, seen.attempt) < rate and _possible(fault, seen):
                return fault
        return None


def _possible(fault: Fault, seen: Sighting) -> bool:
    return fault is not Fault.FLEX_UNAVAILABLE or seen.tier == "flex"
