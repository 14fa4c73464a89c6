from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.paths import RunPaths
from tasks.load.task import load_source
from tasks.outputs.stored import stored_input
from tasks.shard.task import cut, default_shards, fewest_shards, shard_inputs


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=200), st.integers(1, 20))
def test_cut_covers_everything_once(weights: list[int], pieces: int) -> None:
    """The ranges are contiguous, none is empty, and there are no more than asked for."""
    ranges = cut(weights, pieces)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(weights)
    assert all(last == first for (_, last), (first, _) in pairwise(ranges))
    assert all(last > first for first, last in ranges)
    assert len(ranges) <= pieces


@given(st.lists(st.integers(90, 110), min_size=50, max_size=300), st.integers(2, 8))
def test_cut_balances(weights: list[int], pieces: int) -> None:
    """No piece carries more than its share and one input."""
    fair = sum(weights) / pieces
    assert all(sum(weights[a:b]) <= fair + max(weights) for a, b in cut(weights, pieces))


def test_more_shards_than_processes_only_when_worth_it() -> None:
    """Few inputs are not worth a process start each; many leave no core idle at the end."""
    assert default_shards(1, 4) == 1
    assert default_shards(150, 2) == 2
    assert default_shards(10_000, 2) == 2
    assert default_shards(40_000, 2) == 4
    assert default_shards(100_000, 2) == 8


def test_shards_are_sorted_ranges_of_all_inputs(tmp_path: Path) -> None:
    """Concatenated shards are the inputs in order of id, so that the merge needs no sort."""
    source = tmp_path / "in.jsonl"
    ids = [f"id-{number * 7919 % 101:03d}" for number in range(101)]
    source.write_bytes(
        b"\n".join(orjson.dumps({"input_id": i, "content": f"x = '{i}'"}) for i in ids)
    )
    paths = RunPaths(tmp_path / "run")
    paths.work.mkdir(parents=True)
    assert load_source(str(source), paths, None, 1000).inputs == 101
    shards = shard_inputs(paths, 4)
    found = [
        stored_input(line).input_id
        for one in shards
        for line in one.inputs.read_bytes().splitlines()
    ]
    assert found == sorted(ids)
    assert len(shards) == 4


def test_shards_that_travel_have_a_largest_size() -> None:
    """Scheduler and workers hold a shard in memory, several times."""
    assert [fewest_shards(size) for size in (0, 64_000_000, 64_000_001, 300_000_000)] == [
        1,
        1,
        2,
        5,
    ]
