"""What goes to a worker for a shard, and what comes back: files as compressed bytes, and no key."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

__all__ = ["PLACE", "Outcome", "Parcel", "pack", "topic", "unpack"]

PLACE = f"nightly-review-{version('nightly-review')}"
"""
The Dask resource of which a worker announces one for each shard that it takes at a time. A worker
without it, or of another version, gets none: it could not import what it is sent, and would log it.
"""


# Dask logs the arguments of a task that failed: without a repr they are a class and an address.
@dataclass(frozen=True, slots=True, repr=False)
class Parcel:
    """All that a shard needs."""

    attempt: str
    """Names the attempt: key of the task, and part of its events."""
    place: str
    """The shard's folder, from the run's output folder on."""
    run: str
    """Id of the flow run that the shard's own is to be a part of."""
    settings: bytes
    inputs: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """All that a shard leaves."""

    code: int
    """Exit code of the shard's process; below 0: the signal that ended it."""
    files: dict[str, bytes]
    """Compressed content by name: parts, completion marker, exit report."""


def topic(shard: str) -> str:
    """Dask's topic of a shard's events.

    The names recur from run to run: the scheduler keeps the last events of each topic for ever.
    """
    return f"nightly-review-{shard}"


def pack(paths: Iterable[Path]) -> dict[str, bytes]:
    """The compressed content, by name, of those of the files that are there."""
    return {path.name: zlib.compress(path.read_bytes(), 1) for path in paths if path.exists()}


def unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files to a folder, each whole or not at all, in the order that they have."""
    for name, content in files.items():
        temporary = folder / f"{Path(name).name}.tmp"
        temporary.write_bytes(zlib.decompress(content))
        temporary.replace(folder / Path(name).name)
