"""
What the server says about a quota, read from status and headers. Pure: no clock, no state.

Nonsense (negative waits, words where numbers belong) is ignored, never raised: a header must not
be able to stop a run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

__all__ = ["NOTHING_SAID", "Allowance", "Signal", "SignalKind", "read_signal"]

SignalKind = Literal[
    "ok",
    "rate_limited",
    "insufficient_quota",
    "unauthorized",
    "forbidden",
    "server_error",
    "rejected",
]

_LONGEST = 7 * 86400.0
_EPOCH = 1e9  # a "reset" above this is a date in epoch seconds, not a duration
_OUT_OF_MONEY = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "quota_exhausted"}
)
_ABOUT_CONTENT = frozenset({"content_filter", "content_policy_violation"})
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_UNIT = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
_STATUS: Mapping[int, SignalKind] = {
    401: "unauthorized",
    402: "insufficient_quota",
    403: "forbidden",
    429: "rate_limited",
}


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


def read_signal(
    status: int,
    headers: Mapping[str, str],
    body_code: str | None = None,
    *,
    now_epoch: float,
) -> Signal:
    """Status, headers and the body's error code as a Signal.

    `retry-after-ms` goes before `retry-after` (seconds or an HTTP date). `now_epoch` (seconds since
    the epoch) turns dates into waits.
    """
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    return Signal(
        kind=_kind(status, body_code),
        retry_after=_retry_after(lower, now_epoch),
        requests=_allowance(lower, "requests", now_epoch),
        tokens=_allowance(lower, "tokens", now_epoch),
    )


def _kind(status: int, body_code: str | None) -> SignalKind:
    if status < 400:  # noqa: PLR2004 - where HTTP's errors begin
        return "ok"
    if status >= 500:  # noqa: PLR2004 - where the server's own errors begin
        return "server_error"
    if body_code in _OUT_OF_MONEY:
        return "insufficient_quota"
    if body_code in _ABOUT_CONTENT:
        return "rejected"
    return _STATUS.get(status, "rejected")


def _retry_after(headers: Mapping[str, str], now_epoch: float) -> float | None:
    ms = _number(headers.get("retry-after-ms"))
    if ms is not None:
        return _sane(ms / 1000)
    return _wait(headers.get("retry-after"), now_epoch)


def _allowance(headers: Mapping[str, str], what: str, now_epoch: float) -> Allowance:
    def get(field: str) -> str | None:
        names = [f"x-ratelimit-{field}-{what}", f"anthropic-ratelimit-{what}-{field}"]
        if what == "requests":
            names.append(f"x-ratelimit-{field}")
        return next((headers[name] for name in names if name in headers), None)

    allowance = Allowance(
        limit=_count(get("limit")),
        remaining=_count(get("remaining")),
        reset=_wait(get("reset"), now_epoch),
    )
    return NOTHING_SAID if allowance == NOTHING_SAID else allowance


def _wait(text: str | None, now_epoch: float) -> float | None:
    """Seconds from `12`, `1.5`, `6m0s`, `12ms`, epoch seconds, RFC 3339 or an HTTP date."""
    if not text:
        return None
    number = _number(text)
    if number is not None:
        return _sane(number - now_epoch if number > _EPOCH else number)
    if _DURATION.match(text) and not _DURATION.sub("", text):
        return _sane(sum(float(n) * _UNIT.get(unit, 0.0) for n, unit in _DURATION.findall(text)))
    when = _date(text)
    # A date that has just passed means "now": clocks differ by that much.
    return None if when is None else _sane(max(0.0, when - now_epoch))


def _date(text: str) -> float | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = parse(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return None


def _sane(seconds: float) -> float | None:
    return seconds if 0 <= seconds <= _LONGEST else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _count(text: str | None) -> int | None:
    value = _number(text)
    return int(value) if value is not None and 0 <= value < _EPOCH else None
