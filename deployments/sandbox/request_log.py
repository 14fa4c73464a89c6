"""The request log of the sandbox: one row per request, and the counts over all of them."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from deployments.sandbox.config import SandboxConfig
from deployments.sandbox.meter import KeyMeter

__all__ = ["SHARED", "KeyMeters", "RequestLog", "SeenRequest"]

SHARED = "all-keys"
"""Whose meter it is when all keys share one quota."""


@dataclass(slots=True)
class SeenRequest:
    """One request. `at` and `done` are on CLOCK_MONOTONIC, which all local processes share."""

    n: int
    at: float
    epoch: float
    key: str
    """Alias, or "key-" and the start of the key's hash; never the key."""
    trace_id: str | None
    connection: int
    body_sha: str = ""
    model: str = ""
    stream: bool = False
    attempt: int = 0
    """Which arrival of this very body, from 1."""
    status: int = 0
    """0: no status was sent."""
    fault: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    done: float | None = None
    """None: still open."""
    abandoned: bool = False
    """The client was gone before the reply was out; a provider bills it all the same."""


@dataclass(slots=True)
class KeyMeters:
    """The key table, and a meter for every key that was ever seen."""

    config: SandboxConfig
    meters: dict[str, KeyMeter] = field(default_factory=dict)
    _aliases: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.configure(self.config)

    def configure(self, config: SandboxConfig) -> None:
        """Apply new settings; what was used so far stays used."""
        self.config = config
        self._aliases = {spec.key.get_secret_value(): alias for alias, spec in config.keys.items()}
        for alias in {*self.meters, *config.keys}:
            self._configure(alias)

    def alias(self, key: str) -> str:
        """Alias of a key, or a name made of its hash."""
        known = self._aliases.get(key)
        return known or f"key-{hashlib.sha256(key.encode()).hexdigest()[:12]}"

    def meter(self, alias: str) -> KeyMeter:
        """The meter of an alias, made when it is first seen; one for all with a shared quota."""
        name = SHARED if self.config.one_quota else alias
        return self.meters.get(name) or self._configure(name)

    def _configure(self, alias: str) -> KeyMeter:
        spec, config = self.config.keys.get(alias), self.config
        quota = config.default_quota if spec is None or spec.quota is None else spec.quota
        tokens = config.tokens if spec is None or spec.tokens is None else spec.tokens
        meter = self.meters.setdefault(alias, KeyMeter())
        meter.configure(quota, tokens)
        return meter


class RequestLog:
    """Rows and counts since the last reset."""

    def __init__(self, log_limit: int) -> None:
        self.rows: deque[SeenRequest] = deque(maxlen=log_limit)
        self.requests = self.in_flight = self.in_flight_max = 0
        self.connections_opened = self.connections_open = self.connections_max = 0
        self.statuses: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.sends: Counter[str] = Counter()
        """Arrivals by body."""
        self.answers: Counter[str] = Counter()
        """Whole answers with nothing injected, by body."""
        self.billed: Counter[str] = Counter()
        """Every 200 with a completion in it, faulty ones included, by body."""
        self.traces: Counter[str] = Counter()
        self.abandoned = self.bytes_in = self.bytes_out = 0
        self.prompt_tokens = self.completion_tokens = 0
        self.since = time.monotonic()

    def opened(self) -> None:
        """A connection was opened."""
        self.connections_opened += 1
        self.connections_open += 1
        self.connections_max = max(self.connections_max, self.connections_open)

    def arrived(self, row: SeenRequest) -> None:
        """A request's headers are here."""
        self.requests += 1
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        self.rows.append(row)
        if row.trace_id is not None:
            self.traces[row.trace_id] += 1

    def read(self, row: SeenRequest, body: bytes) -> None:
        """The body of a request is here as well."""
        row.body_sha = hashlib.sha256(body).hexdigest()
        row.bytes_in = len(body)
        self.bytes_in += row.bytes_in
        self.sends[row.body_sha] += 1
        row.attempt = self.sends[row.body_sha]

    def closed(self, row: SeenRequest) -> None:
        """A request is over: nothing more will be sent for it."""
        row.done = time.monotonic()
        self.in_flight -= 1
        self.statuses[row.status] += 1
        self.bytes_out += row.bytes_out
        self.abandoned += row.abandoned
        self.prompt_tokens += row.prompt_tokens
        self.completion_tokens += row.completion_tokens
        if row.fault is not None:
            self.faults[str(row.fault)] += 1  # a plain str: orjson takes no other keys
        if row.completion_tokens and row.status == HTTPStatus.OK:
            self.billed[row.body_sha] += 1
            self.answers[row.body_sha] += row.fault is None

    def summary(self) -> dict[str, Any]:
        """All counts as plain data."""
        return {
            "requests": self.requests,
            "statuses": {str(status): n for status, n in sorted(self.statuses.items())},
            "faults": dict(sorted(self.faults.items())),
            "connections_opened": self.connections_opened,
            "connections_open": self.connections_open,
            "connections_max": self.connections_max,
            "in_flight": self.in_flight,
            "in_flight_max": self.in_flight_max,
            "bodies": len(self.sends),
            "repeats": self.sends.total() - len(self.sends),
            "answered": self.answers.total(),
            "duplicates": _extra(self.answers),
            "billed": self.billed.total(),
            "billed_twice": _extra(self.billed),
            "abandoned": self.abandoned,
            "traces": len(self.traces),
            "traces_resent": {trace: n for trace, n in self.traces.items() if n > 1},
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "log_dropped": self.requests - len(self.rows),
            "seconds": time.monotonic() - self.since,
        }


def _extra(counts: Counter[str]) -> int:
    """How many of the counted things came after the first of their kind."""
    return sum(n - 1 for n in counts.values() if n > 1)
