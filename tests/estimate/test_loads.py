"""Counting before the first call."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.prices import Price
from tasks.core.settings import load_settings
from tasks.estimate.loads import (
    Load,
    assumed_calls,
    batched_models,
    duration,
    load_cost,
    pick,
    sum_by_model,
)


def test_an_unknown_price_is_not_a_free_call() -> None:
    """Known prices give dollars, no price gives None, and no calls cost nothing either way."""
    load = Load("one", "m", calls=2, input_tokens=1_000_000, output_tokens=500_000)
    assert load_cost(load, {"m": Price(input=0.4, output=1.6)}) == pytest.approx(1.2)
    assert load_cost(load, {"m": Price(input=0.4, output=1.6)}, "batch") == pytest.approx(0.6)
    assert load_cost(load, {"m": Price(input=0.4, output=1.6, flex=0.75)}, "flex") == (
        pytest.approx(0.9)
    )
    assert load_cost(load, {}) is None
    assert load_cost(Load("one", "m", journaled=9), {}) == 0


@given(st.integers(1, 20_000), st.integers(1, 3000))
def test_a_sample_is_even(count: int, most: int) -> None:
    """Never more than wanted, never one twice, and gaps that differ by one at most."""
    picked = pick(count, most)
    assert len(picked) == min(count, most)
    gaps = {b - a for a, b in pairwise(picked)}
    assert not gaps or (min(gaps) >= 1 and max(gaps) - min(gaps) <= 1)
    assert picked[0] == 0
    assert picked[-1] < count


def test_sums_and_words() -> None:
    """Sums go by model, samples scale to whole calls, durations read as a person says them."""
    loads = [Load("a", "m", calls=1), Load("b", "m", calls=2), Load("c", "n", calls=4)]
    assert sum_by_model(loads, "calls") == {"m": 3, "n": 4}
    assert Load("a", "m", calls=3, input_tokens=10).scaled(2.5).calls == 8
    assert (assumed_calls(2, 8), assumed_calls(5, 8)) == (1, 2)
    assert (duration(11_220), duration(125)) == ("3 h 07 min", "2 min 05 s")


POOL = """
[app_ids.a]
key = "env:K"
base_url = "http://127.0.0.1:1/v1"
quota = []
[app_ids.b]
key = "env:L"
base_url = "http://127.0.0.1:1/v1"
quota = []
models = ["m"]
batch = true
[[check]]
name = "one"
model = "m"
[review]
model = "r"
"""


def test_models_with_enough_calls_go_by_batch() -> None:
    """Two checks of one model count together; a model that no app_id batches goes online."""
    loads = [
        Load("one", "m", calls=150),
        Load("two", "m", calls=50),
        Load("review", "r", calls=900),
    ]
    assert batched_models(loads, load_settings(POOL)) == ("m",)
    assert batched_models(loads[:1], load_settings(POOL)) == ()
    assert batched_models(loads, load_settings('batch = { use = "never" }\n' + POOL)) == ()
