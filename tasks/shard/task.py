"""Stage 2: accepted inputs -> shards of about equal work, each a contiguous range of sorted ids.

Contiguous ranges make the merge a concatenation: no stage ever sorts or holds a run's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import orjson
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.core.files import atomic, output_errors, private_folder
from tasks.core.paths import RunPaths, ShardPaths

__all__ = ["cut", "default_shards", "fewest_shards", "shard", "shard_inputs"]

_INPUT_OVERHEAD = 1300
"""Tokens of rules and reply that every call carries beside the content."""
_SHARD_INPUTS = 10_000
"""A shard takes 1.3 s of CPU to start, as much as 500 calls: beyond one per process, a shard of
fewer inputs than this is not worth it."""
_MOST_PER_PROCESS = 4
_MOST_BYTES = 64_000_000
"""Inputs of a shard that travels: a Dask scheduler holds five times what is on its way, compressed."""


class _Entry(NamedTuple):
    input_id: str
    offset: int
    length: int
    tokens: int


@task(name="shard", task_run_name="shard", cache_policy=NO_CACHE, persist_result=False)
def shard(paths: RunPaths, shards: int, done: Sequence[ShardPaths] | None = None) -> list[str]:
    """Stage task; see `shard_inputs`. `done`: it was done already, while Prefect's server started."""
    made = shard_inputs(paths, shards) if done is None else done
    return [str(one.root) for one in made]


def default_shards(inputs: int, processes: int) -> int:
    """A shard per process, and more where there is enough to do, so that a slow one idles no core."""
    per_process = max(1, min(_MOST_PER_PROCESS, inputs // (processes * _SHARD_INPUTS)))
    return max(1, min(inputs, processes * per_process))


def fewest_shards(size: int) -> int:
    """Shards that inputs of so many bytes are cut into at least, where they travel to other machines."""
    return max(1, -(-size // _MOST_BYTES))


def shard_inputs(paths: RunPaths, shards: int) -> list[ShardPaths]:
    """Write each shard's inputs, sorted by id; returns the shards that got any.

    Raises:
        OutputError: the work folder cannot be written.
    """
    with paths.index.open("rb") as file:
        entries = sorted(_Entry(*orjson.loads(line)) for line in file)
    ranges = cut([entry.tokens + _INPUT_OVERHEAD for entry in entries], shards)
    return [
        _write(paths, number, entries[first:last]) for number, (first, last) in enumerate(ranges)
    ]


def cut(weights: Sequence[int], pieces: int) -> list[tuple[int, int]]:
    """Ranges [first, last) of about equal weight, none empty, at most `pieces`."""
    total, borders = sum(weights), [0]
    for position, weight in enumerate(accumulate(weights), 1):
        if weight * pieces >= total * len(borders) and position > borders[-1]:
            borders.append(position)
    return [(first, last) for first, last in pairwise(borders) if last > first]


def _write(paths: RunPaths, number: int, entries: Sequence[_Entry]) -> ShardPaths:
    made = paths.shard(number)
    with output_errors(made.root):
        private_folder(made.root)
    with atomic(made.inputs) as target:
        target.writelines(_lines(paths, entries))
    return made


def _lines(paths: RunPaths, entries: Sequence[_Entry]) -> Iterator[bytes]:
    with paths.inputs.open("rb") as spool:
        for entry in entries:
            spool.seek(entry.offset)
            yield spool.read(entry.length)
