from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.infer.slices import AT_ONCE, MOST_INPUTS, guided
from tasks.shard.task import default_shards


@given(st.integers(0, 20_000), st.integers(1, 256))
def test_slices_cover_the_shard_once(inputs: int, threads: int) -> None:
    """Every input is in exactly one slice, in order, and none is larger than the bound."""
    ranges = guided(inputs, threads)
    assert [one for first, last in ranges for one in range(first, last)] == list(range(inputs))
    assert all(0 < last - first <= MOST_INPUTS for first, last in ranges)


@given(st.integers(1, 20_000), st.integers(1, 256))
def test_slices_in_work_can_occupy_all_threads(inputs: int, threads: int) -> None:
    """Whatever is left, the slices in work hold an input for every thread, or all that is left."""
    ranges = guided(inputs, threads)
    for number in range(len(ranges)):
        held = sum(last - first for first, last in ranges[number : number + AT_ONCE])
        left = inputs - ranges[number][0]
        assert held >= min(threads, left)


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
@pytest.mark.parametrize("threads", [1, 30, 256])
def test_a_night_is_at_most_300_task_runs(processes: int, threads: int) -> None:
    """10,000 inputs, by default: five stages, a task run per shard, and the slices of all shards."""
    shards = default_shards(10_000, processes)
    slices = shards * len(guided(-(-10_000 // shards), threads))
    assert 5 + shards + slices <= 300
