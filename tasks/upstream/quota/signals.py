"""
What the server says about a quota, as a record. Pure: no clock, no state.

Nonsense (negative waits, words where numbers belong) is ignored, never raised: a header must not
be able to stop a run. What a refusal means is decided elsewhere: tasks/upstream/calls/refusals.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.upstream.waits import reset_of, retry_after_said

__all__ = ["NOTHING_SAID", "Allowance", "Signal", "SignalKind", "read_signal"]

SignalKind = Literal["ok", "rate_limited", "hold", "out"]
"""rate_limited: too much was sent; hold: nothing may be sent for a while; out: for the whole run."""

_MOST = 1e9  # requests or tokens; what is beyond is no limit


@dataclass(frozen=True, slots=True)
class Allowance:
    """One `limit / remaining / reset` triple; None where the server did not say."""

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None
    """Seconds until the server calls it full again."""


NOTHING_SAID = Allowance()


@dataclass(frozen=True, slots=True)
class Signal:
    """What one response means for the app_id it came through."""

    kind: SignalKind
    retry_after: float | None = None
    """Seconds from the response."""
    requests: Allowance = NOTHING_SAID
    tokens: Allowance = NOTHING_SAID
    reason: str = ""
    """In the provider's words, scrubbed: why it is held, or out."""


def read_signal(
    headers: Mapping[str, str],
    *,
    now_epoch: float,
    kind: SignalKind = "ok",
    wait: float | None = None,
    reason: str = "",
) -> Signal:
    """The headers of a response as a Signal.

    `wait` is what its body or headers ask for, in seconds; left out, retry-after is read.
    `now_epoch` (seconds since the epoch) turns dates into waits.
    """
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    return Signal(
        kind=kind,
        retry_after=retry_after_said(lower, now_epoch) if wait is None else wait,
        requests=_allowance(lower, "requests", now_epoch),
        tokens=_allowance(lower, "tokens", now_epoch),
        reason=reason,
    )


def _allowance(headers: Mapping[str, str], what: str, now_epoch: float) -> Allowance:
    def get(field: str) -> str | None:
        names = [f"x-ratelimit-{field}-{what}", f"anthropic-ratelimit-{what}-{field}"]
        if what == "requests":
            names.append(f"x-ratelimit-{field}")
        return next((headers[name] for name in names if name in headers), None)

    allowance = Allowance(
        limit=_count(get("limit")),
        remaining=_count(get("remaining")),
        reset=reset_of(get("reset"), now_epoch),
    )
    return NOTHING_SAID if allowance == NOTHING_SAID else allowance


def _count(text: str | None) -> int | None:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return int(value) if 0 <= value < _MOST else None
