"""The least time that quotas allow."""

from __future__ import annotations

import math
from functools import partial

from tasks.core.quotas import AppId, Window
from tasks.estimate.quota_time import least_despite_holds, least_seconds

A = AppId("a", windows=(Window(3, 60),))
B = AppId("b", windows=(Window(3, 60),), models=frozenset({"m"}))


def test_calls_wait_for_windows() -> None:
    """Two app_ids of 3 send 6 at once and 6 more after each window and its margin."""
    assert least_seconds([A, B], 0.4, {"m": 6}) == 0
    assert least_seconds([A, B], 0.4, {"m": 7}) == 60.4
    assert least_seconds([A, B], 0.4, {"m": 18}) == 2 * 60.4


def test_a_model_waits_for_the_app_ids_that_serve_it() -> None:
    """Only one app_id serves n, so its calls take twice as long."""
    assert least_seconds([A, B], 0, {"n": 12}) == 180


def test_tokens_wait_too() -> None:
    """A token window bounds calls that the request window would let through."""
    one = AppId("a", windows=(Window(100, 60),), token_windows=(Window(1000, 60),))
    assert least_seconds([one], 0, {"m": 10}, {"m": 5000}) == 240


def test_no_quota_no_bound() -> None:
    """An app_id without a window takes all there is; without app_ids nothing is known."""
    assert least_seconds([A, AppId("free")], 0, {"m": 10_000}) == 0
    assert least_seconds([], 0, {"m": 5}) == 0


def test_held_app_ids_are_waited_for_or_left_out() -> None:
    """Whichever is over sooner; one that is out never helps, and nobody left says nothing."""
    pool = [AppId(alias, windows=(Window(10, 60.0),)) for alias in "ab"]
    least = partial(least_despite_holds, pool, 0.0)
    assert least(20, {}) == 0
    assert least(20, {"a": 30.0}) == 30
    assert least(20, {"a": 3600.0}) == 60
    assert least(10, {"a": 30.0, "b": 40.0}) == 30
    assert least(20, {"a": math.inf}) == 60
    assert least(20, {"a": math.inf, "b": 90.0}) == 150
    assert least(20, {"a": math.inf, "b": math.inf}) == 0
