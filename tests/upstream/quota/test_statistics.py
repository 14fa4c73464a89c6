"""The arithmetic of the proof."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import most_in_window, optimum_seconds

_INSTANTS = st.lists(st.integers(0, 60).map(lambda n: n / 4)).map(sorted)


@given(_INSTANTS, st.sampled_from([0.5, 1.0, 3.0]))
def test_most_in_window_counts_every_window(instants: list[float], seconds: float) -> None:
    """The same as counting each half-open window that begins with a send."""
    by_hand = [sum(at <= t < at + seconds for t in instants) for at in instants]
    assert most_in_window(instants, seconds) == max(by_hand, default=0)


@pytest.mark.parametrize(
    ("calls", "app_ids", "seconds"),
    [
        (150, [AppId(f"k{n}", windows=(Window(3, 60.0),)) for n in range(10)], 240.0),
        (30, [AppId(f"k{n}", windows=(Window(3, 60.0),)) for n in range(10)], 0.0),
        (31, [AppId(f"k{n}", windows=(Window(3, 60.0),)) for n in range(10)], 60.0),
        (6, [AppId("a", windows=(Window(3, 60.0), Window(1, 1.0)))], 62.0),
        (7, [AppId("a", windows=(Window(1, 10.0),)), AppId("b", windows=(Window(2, 15.0),))], 20.0),
        (7, [AppId("a", windows=(Window(1, 10.0),)), AppId("b")], 0.0),
    ],
)
def test_optimum(calls: int, app_ids: list[AppId], seconds: float) -> None:
    """W (ceil(N / (K q)) - 1) for equal keys; unequal ones are told by hand."""
    assert optimum_seconds(calls, app_ids) == seconds
