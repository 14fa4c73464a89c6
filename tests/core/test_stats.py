"""Proportions and their intervals."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.stats import f1, wilson


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_intervals(hits: int, total: int, low: float, high: float) -> None:
    """The interval is that of the literature, to its four digits."""
    share = wilson(hits, total)
    assert share is not None
    assert share.value == hits / total
    assert (round(share.low, 4), round(share.high, 4)) == (low, high)


@given(total=st.integers(1, 10**6), data=st.data())
def test_interval_order(total: int, data: st.DataObject) -> None:
    """The share is inside its interval, the interval inside 0 and 1, and it mirrors."""
    hits = data.draw(st.integers(0, total))
    share, mirrored = wilson(hits, total), wilson(total - hits, total)
    assert share is not None
    assert mirrored is not None
    assert 0 <= share.low <= share.value <= share.high <= 1
    assert share.low == pytest.approx(1 - mirrored.high, abs=1e-9)


def test_nothing_to_measure() -> None:
    """No trials give no share, rather than a zero."""
    assert wilson(0, 0) is None
    assert f1(0, 0, 0) is None


@given(true=st.integers(1, 99), false=st.integers(0, 99), missed=st.integers(0, 99))
def test_f1_is_the_harmonic_mean(true: int, false: int, missed: int) -> None:
    """F1 agrees with its textbook definition, and lies in its interval."""
    score = f1(true, false, missed)
    assert score is not None
    mean = statistics.harmonic_mean([true / (true + false), true / (true + missed)])
    assert score.value == pytest.approx(mean)
    assert 0 <= score.low <= score.value <= score.high <= 1
