"""What the attempts of one call share: the upstream of the process, and how far the call has got."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tasks.core.calls import Request, Usage
from tasks.core.errors import CallFailed, Stopped, UpstreamError
from tasks.core.quotas import AppId
from tasks.upstream.budget import Budget
from tasks.upstream.calls.adaptations import Adaptations
from tasks.upstream.calls.breaker import Breakers
from tasks.upstream.calls.client_pool import ClientPool
from tasks.upstream.calls.refusal_breaker import Place, RefusalBreakers
from tasks.upstream.calls.scrub import Scrubber
from tasks.upstream.calls.suspects import Suspects
from tasks.upstream.quota import Quota

__all__ = ["CallCounts", "CallLimits", "CallState", "LoadObserver", "Upstream"]


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


class CallCounts:
    """Counts of outcomes, by name and reason."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, reason: str = "") -> None:
        """One more."""
        with self._lock:
            self._counts[name, reason] += 1

    def summary(self) -> dict[str, Any]:
        """`{name: count}`, or `{name: {reason: count}}` where there are reasons."""
        with self._lock:
            items = sorted(self._counts.items())
        found: dict[str, Any] = {}
        for (name, reason), count in items:
            if reason:
                found.setdefault(name, {})[reason] = count
            else:
                found[name] = count
        return found


class LoadObserver(Protocol):
    """A bound of the calls in flight that follows their latency and overloads (tasks.infer has it)."""

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
    counts: CallCounts
    stop: threading.Event
    refusals: RefusalBreakers
    adaptations: Adaptations
    suspects: Suspects
    budget: Budget
    load: LoadObserver | None = None

    def endpoints(self, model: str) -> dict[str, list[str]]:
        """base_url -> aliases that serve the model there."""
        found: dict[str, list[str]] = {}
        for app_id in self.app_ids.values():
            if app_id.serves(model):
                found.setdefault(app_id.base_url, []).append(app_id.alias)
        return found

    def raise_if_stopped(self) -> None:
        """Leave the call when the run is being stopped.

        Raises:
            Stopped: it is.
        """
        if self.stop.is_set():
            msg = "the run is being stopped: the call is left for the next run"
            raise Stopped(msg)


@dataclass(slots=True)
class CallState:
    """How far one call has got: its attempts, and what they taught of keys and endpoints."""

    request: Request
    endpoints: Mapping[str, list[str]]
    """base_url -> aliases that serve the model there."""
    attempts: int = 0
    failures: int = 0
    """Attempts that ended in an error which counts."""
    uncounted: int = 0
    """Attempts that a 429, a refused key or an adaptation ended."""
    queue: float = 0.0
    """Seconds waited for quota."""
    flex: bool = False
    """Attempts ask for the flex tier, as long as it may still have room."""
    flex_refused: int = 0
    """Attempts that it had no room for."""
    wasted: Usage | None = None
    """Tokens of attempts whose reply was of no use, and paid for."""
    began: float = field(default_factory=time.monotonic)
    failed_on: str = ""
    """Alias of the last attempt, where another one should be tried now."""
    refused_by: dict[str, bool] = field(default_factory=dict)
    """Aliases whose key or account was refused, and whether that was certain."""
    questioned: set[str] = field(default_factory=set)
    """Aliases on which the question itself was refused."""
    alias: str = ""
    """app_id of the last attempt."""
    endpoint: str = ""
    trace_id: str = ""

    @property
    def place(self) -> Place:
        """Endpoint and model of the last attempt."""
        return (self.endpoint, self.request.model)

    @property
    def aliases(self) -> set[str]:
        """Aliases that serve the model, anywhere."""
        return {alias for aliases in self.endpoints.values() for alias in aliases}

    def tell(self, error: UpstreamError) -> None:
        """Put what the call has sent so far into the error that keeps it from going on."""
        if self.attempts:
            error.attempts, error.queue, error.usage = self.attempts, self.queue, self.wasted
            error.app_id, error.trace_id = self.alias, self.trace_id

    def failed(self, reason: str, message: str) -> CallFailed:
        """The call's end without a reply, after its last attempt."""
        return CallFailed(
            f"{reason}: {message}",
            code=reason,
            attempts=self.attempts,
            queue=self.queue,
            app_id=self.alias,
            endpoint=self.endpoint,
            trace_id=self.trace_id,
            usage=self.wasted,
        )
