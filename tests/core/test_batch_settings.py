"""The table [batch]: instants, sizes, and what a run may hand to a Batch API."""

from __future__ import annotations

import time

import pytest

from tasks.core.batch_settings import BatchSettings, instant_after
from tasks.core.calls import Usage
from tasks.core.errors import ConfigError
from tasks.core.prices import Price
from tasks.core.settings import Settings, load_settings

_POOL = """
[app_ids.a]
key = "env:K"
base_url = "http://127.0.0.1:1/v1"
quota = []
models = ["m", "r"]
[app_ids.b]
key = "env:K2"
base_url = "http://127.0.0.1:2/v1"
quota = []
models = ["m"]
batch = true
[[check]]
name = "one"
model = "m"
[review]
model = "r"
"""


def _settings(head: str = "") -> Settings:
    return load_settings(head + _POOL)


def test_a_clock_time_is_the_next_one_and_a_duration_counts_from_the_start() -> None:
    """A deadline that has passed today is tomorrow's; one that is now is tomorrow's as well."""
    start = time.mktime((2026, 11, 28, 23, 30, 15, 0, 0, -1))
    assert instant_after("06:30", start) == time.mktime((2026, 11, 29, 6, 30, 0, 0, 0, -1))
    assert instant_after("23:31", start) - start == 45
    assert instant_after("5h", start) - start == 5 * 3600
    full = time.mktime((2026, 11, 28, 6, 30, 0, 0, 0, -1))
    assert instant_after("6:30", full) - full == 86_400


@pytest.mark.parametrize("text", ["25:00", "morning", "5", "0h"])
def test_a_deadline_of_another_form_is_refused(text: str) -> None:
    """It is told how to write one."""
    with pytest.raises(ConfigError, match='write a time as "06:30"'):
        _settings(f"batch = {{ deadline = '{text}' }}\n")


def test_sizes_have_units() -> None:
    """max_bytes is a number of bytes, or one with its unit."""
    assert BatchSettings(max_bytes="180MB").max_bytes == 180_000_000  # type: ignore[arg-type]
    assert BatchSettings(max_bytes=20_000).max_bytes == 20_000
    with pytest.raises(ConfigError, match="no size"):
        _settings("batch = { max_bytes = 'a lot' }\n")


def test_only_app_ids_that_say_so_are_batched() -> None:
    """Without a word nothing is; never takes all of them out."""
    assert [one.alias for one in _settings().batch_pool] == ["b"]
    assert _settings().unbatched_models == ("r",)
    assert _settings("batch = { use = 'never' }\n").batch_pool == ()


def test_always_needs_an_app_id_for_each_model() -> None:
    """The sentence names the model that none serves by batch."""
    with pytest.raises(ConfigError, match=r"no app_id with batch = true serves 'r'"):
        _settings("batch = { use = 'always' }\n")


def test_each_way_has_its_price() -> None:
    """Half by default; cached tokens are counted once, at their own price."""
    price = Price(input=2.0, output=8.0, cached=0.5, flex=0.75)
    usage = Usage(1_000_000, 100_000, cached_tokens=400_000)
    assert price.cost(usage) == pytest.approx(1.2 + 0.2 + 0.8)
    assert price.cost(usage, "batch") == pytest.approx(1.1)
    assert price.cost(usage, "flex") == pytest.approx(1.65)
