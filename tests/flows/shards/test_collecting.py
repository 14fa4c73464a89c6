"""The processes of a collecting pass: killed ones start again, lasting troubles end the run."""

from __future__ import annotations

import logging
import signal
from pathlib import Path

import orjson
import pytest

from flows.shards import collecting
from flows.shards.collecting import collect
from flows.shards.fork_server import ShardProcess
from tasks.core.errors import RunCancelled, StateError
from tasks.core.paths import RunPaths, ShardPaths
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.load.rows import read_input
from tasks.upstream.batches.questions import read_questions

CONFIG = """
[app_ids.a]
key = "env:K"
base_url = "http://127.0.0.1:9/v1"
quota = []
batch = true
[[check]]
name = "one"
model = "check-1"
[review]
model = "review-1"
"""
TIMES = 2
LOG = logging.getLogger("test")


@pytest.fixture
def shards(tmp_path: Path) -> list[ShardPaths]:
    """Three shards of two inputs each."""
    paths = RunPaths(tmp_path / "run")
    made = [paths.shard(number) for number in range(3)]
    for number, shard in enumerate(made):
        shard.root.mkdir(parents=True)
        rows = [{"input_id": f"{number}{n}", "content": f"x = {number}{n}\n"} for n in range(2)]
        shard.inputs.write_bytes(b"".join(orjson.dumps(read_input(row)) + b"\n" for row in rows))
    Run("run-1", load_settings(CONFIG), str(tmp_path / "state"), 2).write(made[0].settings)
    return made


def test_a_killed_process_starts_again(
    shards: list[ShardPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at a time, the first one killed twice: all questions are there."""
    start, killed = collecting._start, []

    def fragile(shard: ShardPaths) -> ShardProcess:
        process = start(shard)
        if shard is shards[0] and len(killed) < TIMES:
            process.send_signal(signal.SIGKILL)
            killed.append(process.pid)
        return process

    monkeypatch.setattr(collecting, "_start", fragile)
    files = collect(shards, 2, lambda: None, LOG)
    assert len(killed) == TIMES
    assert sorted(one.cell.splitlines()[0] for one in read_questions(files)) == [
        "00", "01", "10", "11", "20", "21",
    ]  # fmt: skip


def test_a_journal_that_cannot_be_used_ends_the_run(shards: list[ShardPaths]) -> None:
    """Each shard would meet it: the remedy is told once, as a shard would tell it."""
    state = shards[0].root.parents[2] / "state"
    state.mkdir(exist_ok=True)
    (state / "journal.sqlite").write_text("something else, of some length, that is no database")
    with pytest.raises(StateError, match=r"journal\.sqlite"):
        collect(shards, 2, lambda: None, LOG)


def test_a_cancelled_run_ends_its_processes(shards: list[ShardPaths]) -> None:
    """What `look` raises leaves at once."""

    def look() -> None:
        msg = "cancelled"
        raise RunCancelled(msg)

    with pytest.raises(RunCancelled):
        collect(shards, 2, look, LOG)
