"""Canaries taken out of a run where its shards are merged: they are in no count, table or comparison."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import orjson

from tasks.core.canary_settings import CANARY
from tasks.core.errors import StateError
from tasks.core.files import atomic, read_json
from tasks.core.paths import RunPaths
from tasks.core.records import Row

__all__ = ["CanaryFile", "canary_file"]


class CanaryFile:
    """`paths.canaries` as it is written: input and review of each canary, under its own id."""

    def __init__(self, planted: dict[str, str], target: BinaryIO | None) -> None:
        self._planted = planted
        self._target = target

    def take(self, line: bytes, review: Row) -> bool:
        """Whether the input of this line is a canary; then it is written here, and nowhere else."""
        name = self._planted.pop(review["input_id"], None)
        if name is None or self._target is None:
            return False
        item = orjson.loads(line)
        extra = {key: value for key, value in item["extra"].items() if key != CANARY}
        calls = [{**call, "input_id": name} for call in review["calls"]]
        entry = {
            "input": {**item, "input_id": name, "extra": extra},
            "review": {**review, "input_id": name, "calls": calls},
        }
        self._target.write(orjson.dumps(entry) + b"\n")
        return True

    def check(self) -> None:
        """Raise StateError where one that was planted has not come back."""
        if self._planted:
            msg = f"merge lost {len(self._planted)} canaries; run again"
            raise StateError(msg)


@contextmanager
def canary_file(paths: RunPaths) -> Iterator[CanaryFile]:
    """The file of this run's canaries, as the load stage has planted them; none is made without any.

    Raises:
        OutputError: the folder cannot be written.
    """
    planted = read_json(paths.planted)
    if not planted:
        yield CanaryFile({}, None)
        return
    with atomic(paths.canaries) as target:
        found = CanaryFile(dict(planted), target)
        yield found
        found.check()
