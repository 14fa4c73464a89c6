from __future__ import annotations

from tasks.core.quotas import AppId, Window
from tasks.infer.thread_count import MOST_THREADS, UNLIMITED, default_threads


def test_the_burst_of_a_small_quota_decides() -> None:
    """Ten keys of 3 a minute need 30 calls in flight for the start of a window."""
    assert default_threads([AppId(f"a{n}", windows=(Window(3, 60),)) for n in range(10)]) == 30


def test_steady_state_decides_on_short_windows() -> None:
    """Ten a second at 20 s a call are 200 in flight, though the burst is only 10."""
    assert default_threads([AppId("a", windows=(Window(10, 1),))]) == 200


def test_bounds() -> None:
    """No quota gets a fair default, max_in_flight is obeyed, and there is an upper bound."""
    assert default_threads([AppId("a")]) == UNLIMITED
    assert default_threads([AppId("a", max_in_flight=2)]) == 2
    assert default_threads([AppId("a", windows=(Window(5000, 60),))]) == MOST_THREADS
