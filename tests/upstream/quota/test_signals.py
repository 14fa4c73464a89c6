"""What headers say of a quota."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.upstream.quota import Allowance, Signal, read_signal

_NOW = 1_700_000_000.0


def _read(headers: dict[str, str]) -> Signal:
    return read_signal(headers, now_epoch=_NOW)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("12ms", 0.012),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("2023-11-14T22:13:50Z", 30.0),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0.0),
        ("-1", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("99999999", 32 * 86400),
        ("", None),
        ("Tue, 99 Nov 2023 99:13:10 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """Seconds, durations and dates are waits; nonsense is as if nothing was said."""
    assert _read({"Retry-After": value}).retry_after == seconds


def test_milliseconds_go_first() -> None:
    """`retry-after-ms` is the finer of the two."""
    assert _read({"retry-after": "2", "Retry-After-Ms": "1250"}).retry_after == 1.25


def test_wait_of_the_body_goes_first() -> None:
    """What was read from the body is the wait, whatever the header says."""
    assert read_signal({"retry-after": "2"}, now_epoch=_NOW, wait=9.0).retry_after == 9.0


def test_allowances_of_two_dialects() -> None:
    """OpenAI's durations and Anthropic's dates both say when a quota is full again."""
    openai = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    signal = _read(openai)
    assert signal.requests == Allowance(60, 59, 1.0)
    assert signal.tokens == Allowance(150000, 149984, 360.0)
    anthropic = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:21Z",
    }
    assert _read(anthropic).requests == Allowance(50, 0, 1.0)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-requests",
            ]
        ),
        st.text(max_size=30),
    )
)
def test_no_header_can_raise(headers: dict[str, str]) -> None:
    """Whatever a server sends, a run goes on."""
    signal = _read(headers)
    assert signal.retry_after is None or 0 <= signal.retry_after <= 32 * 86400
