"""Rate-limit headers, in each provider's names and units."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from deployments.sandbox.meter import KeyMeter, SlidingWindow

__all__ = [
    "LimitHeaders",
    "anthropic_limits",
    "azure_limits",
    "go_span",
    "groq_limits",
    "openai_limits",
    "together_limits",
]

LimitHeaders = Callable[[KeyMeter, float], dict[str, str]]
"""From a key's windows and a monotonic instant to the headers of a reply."""


def openai_limits(meter: KeyMeter, at: float) -> dict[str, str]:
    """x-ratelimit-* of the first window of each kind; reset says when the next use leaves."""
    found = {}
    for kind, window in _firsts(meter):
        found[f"x-ratelimit-limit-{kind}"] = str(window.window.limit)
        found[f"x-ratelimit-remaining-{kind}"] = str(_rest(window))
        found[f"x-ratelimit-reset-{kind}"] = go_span(window.next_free(at))
    return found


def azure_limits(meter: KeyMeter, at: float) -> dict[str, str]:
    """Limit and rest without a reset: the wait is in retry-after alone."""
    return {name: v for name, v in openai_limits(meter, at).items() if "-reset-" not in name}


def groq_limits(meter: KeyMeter, at: float) -> dict[str, str]:
    """Requests are those of the longest window, a day, and tokens those of the shortest."""
    found = {}
    for kind, window in (
        ("requests", max(meter.requests, key=_length, default=None)),
        ("tokens", min(meter.tokens, key=_length, default=None)),
    ):
        if window is not None:
            found[f"x-ratelimit-limit-{kind}"] = str(window.window.limit)
            found[f"x-ratelimit-remaining-{kind}"] = str(_rest(window))
            found[f"x-ratelimit-reset-{kind}"] = go_span(window.next_free(at))
    return found


def anthropic_limits(meter: KeyMeter, at: float) -> dict[str, str]:
    """anthropic-ratelimit-*; reset is an instant in RFC 3339."""
    found = {}
    for kind, window in _firsts(meter):
        instant = datetime.fromtimestamp(math.ceil(time.time() + window.next_free(at)), UTC)
        found[f"anthropic-ratelimit-{kind}-limit"] = str(window.window.limit)
        found[f"anthropic-ratelimit-{kind}-remaining"] = str(_rest(window))
        found[f"anthropic-ratelimit-{kind}-reset"] = instant.strftime("%Y-%m-%dT%H:%M:%SZ")
    return found


def together_limits(meter: KeyMeter, at: float) -> dict[str, str]:
    """Requests and tokens per second, whatever the window."""
    found = {}
    for kind, window in _firsts(meter):
        prefix = "x-ratelimit" if kind == "requests" else "x-tokenlimit"
        seconds = window.window.seconds
        found[f"{prefix}-limit"] = f"{window.window.limit / seconds:g}"
        found[f"{prefix}-remaining"] = f"{_rest(window) / seconds:g}"
        found[f"{prefix}-reset"] = str(math.ceil(window.next_free(at)))
    return found


def _firsts(meter: KeyMeter) -> Iterator[tuple[str, SlidingWindow]]:
    for kind, windows in (("requests", meter.requests), ("tokens", meter.tokens)):
        for window in windows[:1]:
            yield kind, window


def _rest(window: SlidingWindow) -> int:
    return max(0, window.window.limit - window.used)


def _length(window: SlidingWindow) -> float:
    return window.window.seconds


def go_span(seconds: float) -> str:
    """Go's notation, as OpenAI uses it: 12ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}m{rest:.3g}s" if minutes else f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
