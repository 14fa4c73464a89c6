"""
The wait that a server asks for, in any header, field or sentence, as seconds. Pure: `now` is given.

Nonsense (negative waits, words where numbers belong) is ignored, never raised: a header must not be
able to stop a run. Who asks for years is obeyed for 32 days, which is longer than any run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

__all__ = ["reset_of", "reset_said", "retry_after_said", "wait_in_field", "wait_in_text", "wait_of"]

_LONGEST = 32 * 86400.0  # the longest quota period that providers sell is a month
_NO_WAIT = 1e12  # seconds; dates end at the year 9999, so it is neither a date nor a duration
_EPOCH = 1e9  # a number above this is a date in epoch seconds, not a duration
_EPOCH_MS = 1e11  # and above this, in epoch milliseconds
_UNITS = {"ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNITS |= {"d": 86400.0, "sec": 1.0, "min": 60.0, "hr": 3600.0, "hour": 3600.0, "day": 86400.0}
_UNITS |= {"second": 1.0, "minute": 60.0, "millisecond": 1e-3}
_PART = re.compile(
    r"(\d{1,15}(?:\.\d{1,9})?)\s{0,3}"
    r"(milliseconds?|ms|us|µs|ns|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|s|m|h|d)"
    r"(?![a-zµ])(?:\s{0,3}(?:,|and\b))?\s{0,3}"
)
_CLOCK = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d)(?:\.\d+)?")
_ASKS = re.compile(
    r"\b(?:try(?:ing)? again|retry(?:ing)?|wait|available|replenished|resets?|regain access)\b"
    r"[^0-9.!?]{0,40}"
)
_DATE = re.compile(
    r"(20\d\d-\d\d-\d\d)(?:[t ]|\s?,? at )(\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)\s?(.*)"
)
_ZONE = re.compile(r"[+-]\d\d:?\d\d")
_SECONDS_FIELDS = frozenset(
    {
        *("retrydelay", "retry_delay", "retry_after", "retryafter", "retry_after_seconds"),
        *("retry-after", "reset_at", "resets_at", "resetat", "reset_time", "resets_in_seconds"),
        *("reset_in", "resets_in", "reset_after", "estimated_time"),
    }
)
_MS_FIELDS = frozenset({"retry_after_ms", "retryafterms", "retry-after-ms", "x-ms-retry-after-ms"})
_ITEM = re.compile(r"(?:\b(?:remaining|r)=(\d+)).*?(?:\b(?:reset|t)=(\d+))")


def retry_after_said(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds from retry-after-ms, then retry-after (seconds or an HTTP date); names in any case."""
    lower = _lower(headers)
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (ms := _number(lower.get(name))) is not None:
            return _sane(ms / 1000)
    return wait_of(lower.get("retry-after"), now)


def reset_said(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until the rate limits that are used up are full again, from their reset headers.

    Knows `x-ratelimit-reset[-what]`, `anthropic-ratelimit-what-reset`, `ratelimit-reset` and the
    `RateLimit` field of the IETF drafts. A limit whose remainder is said and is not zero is not
    what the server complains of.
    """
    waits = list(_resets(_lower(headers), now))
    return max(waits, default=None)


def wait_of(value: Any, now: float) -> float | None:
    """Seconds from `12`, `1.5`, `6m0s`, `12ms`, `02:14:05`, epoch (milli)seconds or a date.

    32 days at most, whatever is said.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    number = _number(value)
    if number is not None:
        seconds = number / 1000 if number > _EPOCH_MS else number
        return _sane(max(0.0, seconds - now) if number > _EPOCH else seconds)
    text = str(value)[:64].strip().lower()
    spelled = _duration(text)
    if spelled is not None:
        return spelled
    when = _date(str(value)[:64].strip())
    # A date that has just passed means "now": clocks differ by that much.
    return None if when is None else _sane(max(0.0, when - now))


def reset_of(value: Any, now: float) -> float | None:
    """Seconds until a limit is full again, as `wait_of`; none for what is further than 32 days.

    Nobody asks us to wait by it, and gateways say years of a limit that does not apply.
    """
    seconds = wait_of(value, now)
    return None if seconds is None or seconds >= _LONGEST else seconds


def wait_in_field(name: str, value: Any, now: float) -> float | None:
    """Seconds if the field of a body is one that says a wait: retryDelay, reset_at, retry_after."""
    name = name.lower()
    if name in _MS_FIELDS:
        ms = _number(value)
        return None if ms is None else _sane(ms / 1000)
    if name not in _SECONDS_FIELDS:
        return None
    if isinstance(value, dict):  # a google.protobuf.Duration spelled out
        value = value.get("seconds")
    return wait_of(value, now)


def wait_in_text(text: str, now: float) -> float | None:
    """Seconds from a sentence: "try again in 7m12s", "retry after 20 seconds", "resets at DATE"."""
    text = text.lower()
    for asks in _ASKS.finditer(text):
        rest = text[asks.end() : asks.end() + 64]
        seconds = _duration(rest, whole=False)
        seconds = _dated(rest, now) if seconds is None else seconds
        if seconds is not None:
            return seconds
    return None


def _resets(headers: Mapping[str, str], now: float) -> Iterable[float]:
    for name, value in headers.items():
        if "ratelimit" not in name.replace("-", ""):
            continue
        if "reset" in name:
            remaining = _number(headers.get(name.replace("reset", "remaining")))
            found = None if remaining else reset_of(value, now)
            if found is not None:
                yield found
        elif name == "ratelimit":
            yield from (float(t[:9]) for r, t in _ITEM.findall(value[:500]) if not int(r[:9]))


def _duration(text: str, *, whole: bool = True) -> float | None:
    if clock := _CLOCK.match(text):
        hours, minutes, seconds = (int(part) for part in clock.groups())
        return _sane(hours * 3600.0 + minutes * 60 + seconds)
    total, at = 0.0, 0
    while part := _PART.match(text, at):
        unit = part[2] if part[2] in _UNITS else part[2].removesuffix("s")
        total, at = total + float(part[1]) * _UNITS[unit], part.end()
    return _sane(total) if at and (at == len(text) or not whole) else None


def _dated(text: str, now: float) -> float | None:
    found = _DATE.match(text)
    if not found:
        return None
    zone = _ZONE.match(found[3])
    when = _date(f"{found[1]}T{found[2]}{zone[0] if zone else '+00:00'}")
    return None if when is None else _sane(max(0.0, when - now))


def _date(text: str) -> float | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = parse(text)
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {str(name).lower(): str(value).strip() for name, value in headers.items()}


def _sane(seconds: float) -> float | None:
    return min(seconds, _LONGEST) if 0 <= seconds <= _NO_WAIT else None


def _number(value: Any) -> float | None:
    try:
        number = float(value) if value is not None and not isinstance(value, bool) else math.nan
    except (ValueError, TypeError, OverflowError):
        return None
    return number if math.isfinite(number) else None
