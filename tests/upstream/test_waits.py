"""The wait that servers ask for, in the forms that they use."""

from __future__ import annotations

import pytest

from tasks.upstream.waits import (
    reset_said,
    retry_after_said,
    wait_in_field,
    wait_in_text,
    wait_of,
)

NOW = 1795600000.0  # 2026-11-25 09:46:40 UTC


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("12", 12),
        ("1.5", 1.5),
        (12, 12),
        ("6m0s", 360),
        ("7m12s", 432),
        ("12ms", 0.012),
        ("1h2m3.5s", 3723.5),
        ("02:14:05", 8045),
        ("1795600060", 60),
        ("1795600060000", 60),
        ("2026-11-25T09:47:40Z", 60),
        ("2026-11-25T10:47:40+01:00", 60),
        ("Wed, 25 Nov 2026 09:47:40 GMT", 60),
        ("2026-11-25T09:46:00Z", 0),
        ("Wed, 25 Nov 2099 09:47:40 GMT", 32 * 86400),
        ("2099-11-25T09:47:40Z", 32 * 86400),
        ("4098770860", 32 * 86400),
        ("99999999", 32 * 86400),
        ("400 days", 32 * 86400),
        ("-5", None),
        ("nan", None),
        ("1e99", None),
        ("soon", None),
        ("", None),
        (True, None),
        (None, None),
    ],
)
def test_a_value_is_seconds(value: object, seconds: float | None) -> None:
    """Numbers, durations, epochs in seconds or milliseconds and dates; nonsense is no wait."""
    assert wait_of(value, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 7m12s.", 432),
        ("Please try again in 20ms. Visit us.", 0.02),
        ("Please retry after 20 seconds.", 20),
        ("Please retry in 34.07s.", 34.07),
        ("try again in 2 minutes and 5 seconds", 125),
        ("Please wait 52220 seconds before retrying", 52220),
        ("Quota will be replenished in 02:14:05.", 8045),
        ("Limit resets at: 2026-11-25 09:47:05 UTC", 25),
        ("You regain access on 2026-11-25 at 10:00 UTC.", 800),
        ("Please wait. Limit 3 / min", None),
        ("Retry with fewer than 500 tokens", None),
        ("Try again later", None),
        ("took 3 s", None),
    ],
)
def test_a_sentence_says_a_wait(text: str, seconds: float | None) -> None:
    """Only a duration or a date behind words that ask to wait counts."""
    assert wait_in_text(text, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "30"}, 30),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"x-ms-retry-after-ms": "900"}, 0.9),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "Wed, 25 Nov 2099 09:47:40 GMT"}, 32 * 86400),
        ({"retry-after-ms": "99999999999"}, 32 * 86400),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds go before seconds; what is no number is passed over."""
    assert retry_after_said(headers, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-requests": "0"}, 1),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-requests": "7"}, None),
        ({"X-RateLimit-Reset": "1795600060000"}, 60),
        ({"X-Rate-Limit-Reset": "1795600060"}, 60),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-25T09:46:50Z"}, 10),
        ({"ratelimit-reset": "50", "ratelimit-remaining": "0"}, 50),
        ({"RateLimit": "limit=10, remaining=0, reset=50"}, 50),
        ({"RateLimit": '"a";r=0;t=5, "b";r=9;t=500'}, 5),
        ({"RateLimit": "limit=10, remaining=4, reset=50"}, None),
        ({"x-ratelimit-reset-requests": "2s", "x-ratelimit-reset-tokens": "9s"}, 9),
        ({"x-request-reset": "5"}, None),
        ({"x-ratelimit-reset-tokens": "4098770860"}, None),
        ({"x-ratelimit-reset": "2099-11-25T09:47:40Z", "x-ratelimit-reset-requests": "3s"}, 3),
    ],
)
def test_reset_headers(headers: dict[str, str], seconds: float | None) -> None:
    """The longest reset of the limits that are used up, in every provider's spelling."""
    assert reset_said(headers, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        ("retryDelay", "34.5s", 34.5),
        ("retryDelay", {"seconds": 34}, 34),
        ("retry_after_ms", 1500, 1.5),
        ("reset_at", 1795600025, 25),
        ("reset_at", "2026-11-25T09:47:05Z", 25),
        ("estimated_time", 20.0, 20),
        ("message", "34s", None),
    ],
)
def test_fields_of_a_body(name: str, value: object, seconds: float | None) -> None:
    """Only fields that are meant to say a wait are read as one."""
    assert wait_in_field(name, value, NOW) == pytest.approx(seconds)
