"""
Every error the project raises on purpose, as one tree.

    ReviewError
    ├── UserError              the caller can fix it; exit code 2
    │   ├── ConfigError        review.toml, a variable or a key alias is wrong
    │   ├── SourceError        SOURCE is missing, unreadable or of an unknown form
    │   └── OutputError        DIR is not writable, full, or in use by another run
    ├── RowError               one row of SOURCE is unusable; it goes to rejected.jsonl
    ├── StateError             journal or ledger is unusable
    ├── ReplyError             a reply arrived and cannot be used
    ├── SchedulerGone          the scheduler of [workers], or every worker, has been away for too long
    ├── ShardError             a shard's process ended without its completion marker
    ├── RunCancelled           somebody cancelled the run
    └── UpstreamError          a call got no usable answer
        ├── CallFailed         this call is over; `code` says why
        ├── BatchCallFailed    a request about a file or a batch failed; `code` says why
        ├── NoKeysLeft         every app_id that could serve the model is disabled
        ├── QuotaHeld          every app_id that could is held by its provider for too long
        ├── OverBudget         the budget of the run, or of the day, is spent
        ├── CircuitOpen        the endpoint is down; calls are not sent for now
        └── Stopped            the run is being stopped; nothing was sent

Each class has a stable `code`, which is what columns, counts and logs carry.
No error holds a key, a header or a request body: Prefect pickles what leaves a flow.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tasks.core.calls import Usage

__all__ = [
    "BatchCallFailed",
    "CallFailed",
    "CircuitOpen",
    "ConfigError",
    "NoKeysLeft",
    "OutputError",
    "OverBudget",
    "QuotaHeld",
    "ReplyError",
    "ReviewError",
    "RowError",
    "RunCancelled",
    "SchedulerGone",
    "ShardError",
    "SourceError",
    "StateError",
    "Stopped",
    "UpstreamError",
    "UserError",
]


class ReviewError(Exception):
    """Root of the tree. `code` is stable; the message names the remedy."""

    code: str = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders: rebuild from plain text, never from live objects.
        return _rebuild, (type(self), str(self), self.code, self.details())

    def details(self) -> dict[str, object]:
        """Keyword arguments beside message and code that rebuild the error; plain values only."""
        return {}


def _rebuild(
    kind: type[ReviewError], message: str, code: str, details: dict[str, Any]
) -> ReviewError:
    return kind(message, code=code, **details)


class UserError(ReviewError):
    """An error that the user can mend. Nothing was written over."""

    code = "user_error"
    exit_code = 2


class ConfigError(UserError):
    """The configuration is wrong; the message names file, key and remedy."""

    code = "config"


class SourceError(UserError):
    """SOURCE cannot be read at all."""

    code = "source"


class OutputError(UserError):
    """The output folder cannot be used."""

    code = "output"


class RowError(ReviewError):
    """One row is unusable; `code` is its reason in rejected.jsonl."""

    code = "bad_row"


class StateError(ReviewError):
    """The journal or the ledger cannot be used."""

    code = "state"
    exit_code = 2


class RunCancelled(ReviewError):
    """Somebody cancelled the run in Prefect's UI or on the command line."""

    code = "cancelled"


class ReplyError(ReviewError):
    """A reply arrived and cannot be used; `code` is its reason in calls.parquet."""

    code = "bad_reply"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        snippet: str = "",
        usage: Usage | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.usage = usage
        """Tokens that it cost, where it said so. They do not cross process borders."""
        self.snippet = snippet
        """Start of the reply's text, for calls.parquet. It does not cross process borders."""


class ShardError(ReviewError):
    """A shard's process ended without its completion marker."""

    code = "shard_lost"


class SchedulerGone(ReviewError):
    """The scheduler of [workers], or every worker, has been away for longer than its patience."""

    code = "scheduler_gone"


class UpstreamError(ReviewError):
    """A call got no usable answer; what it had sent before is in its row.

    `queue` is the wait for quota in seconds over all attempts; `app_id` is the alias of the last one.
    """

    code = "upstream"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        attempts: int = 0,
        queue: float = 0.0,
        app_id: str | None = None,
        endpoint: str | None = None,
        trace_id: str | None = None,
        usage: Usage | None = None,
        batch_id: str | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.batch_id = batch_id
        """The provider's batch that it failed in; None: it failed online."""
        self.usage = usage
        """Tokens of its attempts, as far as replies told; None: none did."""
        self.attempts = attempts
        self.queue = queue
        self.app_id = app_id
        self.endpoint = endpoint
        self.trace_id = trace_id

    def details(self) -> dict[str, object]:
        """What calls.parquet tells of a failed call."""
        names = ("attempts", "queue", "app_id", "endpoint", "trace_id", "usage", "batch_id")
        return {name: getattr(self, name) for name in names}


class CallFailed(UpstreamError):
    """The call is over; `code` is its reason in calls.parquet."""

    code = "call_failed"


class BatchCallFailed(UpstreamError):
    """A request about a file or a batch failed; `code` is its reason, as of calls, or "not_found".

    `uncertain`: it may have had its effect all the same. `wait`: seconds that the provider asks for.
    """

    code = "batch_call_failed"

    def __init__(
        self, message: str, *, uncertain: bool = False, wait: float | None = None, **known: Any
    ) -> None:
        super().__init__(message, **known)
        self.uncertain = uncertain
        self.wait = wait

    def details(self) -> dict[str, object]:
        """Both, and what calls.parquet tells."""
        return {"uncertain": self.uncertain, "wait": self.wait, **super().details()}


class NoKeysLeft(UpstreamError):
    """Every app_id that could serve the model is disabled; the message gives each one's reason."""

    code = "no_keys_left"


class QuotaHeld(UpstreamError):
    """Every app_id that could serve the model is held for longer than longest_wait.

    `until` is the first instant, in seconds since the epoch, at which one can go on.
    """

    code = "quota_held"

    def __init__(self, message: str, *, until: float = 0.0, **known: Any) -> None:
        super().__init__(message, **known)
        self.until = until

    def details(self) -> dict[str, object]:
        """The instant, and what calls.parquet tells."""
        return {"until": self.until, **super().details()}


class OverBudget(UpstreamError):
    """The budget of the run, or of the day, has no room for the call; nothing was sent."""

    code = "over_budget"


class CircuitOpen(UpstreamError):
    """The endpoint failed too often in a row; calls are not sent for now."""

    code = "circuit_open"


class Stopped(UpstreamError):
    """The run is being stopped; nothing was sent."""

    code = "stopped"
