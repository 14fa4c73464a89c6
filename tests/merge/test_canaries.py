"""Canaries leave the run where its shards are merged; none is lost on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tasks.core.canary_settings import CANARY
from tasks.core.cells import RunCounts, planned_cells
from tasks.core.errors import StateError
from tasks.core.failures import Failures
from tasks.core.paths import RunPaths
from tasks.core.records import Input
from tasks.merge.task import merge_shards

PLAN = planned_cells(["one"], reviews=False)


def call(input_id: str) -> dict[str, Any]:
    fields = {"input_id": input_id, "stage": "check", "name": "one", "part": 0}
    return fields | {"status": "ok", "reason": None, "cost_usd": 1.0}


def merged(
    root: Path, planted: dict[str, str], *, reviewed: bool = True
) -> tuple[RunPaths, RunCounts]:
    """A run of one shard with the inputs a and b, and a canary between them."""
    paths = RunPaths(root)
    shard = paths.shard(0)
    shard.root.mkdir(parents=True)
    items = [Input("a", "x"), Input("a 1f", "y", extra={CANARY: True, "n": 1}), Input("b", "z")]
    shard.inputs.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in items))
    comment = {"outcome": "kept", "drop_reason": None, "fingerprint": "f", "cluster_id": "k"}
    reviews = [
        {
            "input_id": one.input_id,
            "coverage": "complete",
            "coverage_reason": None,
            "comments": [comment] if one.extra else [],
            "calls": [call(one.input_id)],
        }
        for one in items
    ]
    if reviewed:
        shard.part(0).write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in reviews))
    paths.planted.write_bytes(orjson.dumps(planted))
    counts = merge_shards(
        paths,
        [shard],
        PLAN,
        2,
        suppressions={"f": "known"},
        comparison=None,
        failures=Failures(),
        sections={},
    )
    return paths, counts


def test_a_canary_is_in_its_own_file_and_nowhere_else(tmp_path: Path) -> None:
    """Under its own id, without our mark, its comments as they are; the counts are of a and b."""
    paths, counts = merged(tmp_path, {"a 1f": "py-one"})
    assert (counts.inputs, counts.outcomes.total()) == (2, 0)
    lines = [orjson.loads(line) for line in paths.merged.read_bytes().splitlines()]
    assert [line["input"]["input_id"] for line in lines] == ["a", "b"]
    (entry,) = [orjson.loads(line) for line in paths.canaries.read_bytes().splitlines()]
    assert (entry["input"]["input_id"], entry["input"]["extra"]) == ("py-one", {"n": 1})
    assert {one["input_id"] for one in entry["review"]["calls"]} == {"py-one"}
    assert entry["review"]["comments"][0]["outcome"] == "kept"


def test_a_canary_of_a_lost_shard_is_not_reviewed(tmp_path: Path) -> None:
    """It is there, and counts for nobody; its failed calls are no gap of the run's."""
    paths, counts = merged(tmp_path, {"a 1f": "py-one"}, reviewed=False)
    (entry,) = [orjson.loads(line) for line in paths.canaries.read_bytes().splitlines()]
    assert entry["review"]["coverage"] == "failed"
    assert counts.cells["failed"] == 2


def test_a_canary_that_does_not_come_back_is_a_defect(tmp_path: Path) -> None:
    """As a lost input is; no file of the run appears."""
    with pytest.raises(StateError, match="lost 1 canaries"):
        merged(tmp_path, {"a 1f": "py-one", "c 2f": "py-two"})
    assert not RunPaths(tmp_path).canaries.exists()
    assert not RunPaths(tmp_path).merged.exists()
