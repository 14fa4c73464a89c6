"""
A shard at a Dask worker: in a process of its own, which ends when nobody wants it any more.

Connections are the leases. When the run is gone, its scheduler cancels the task; when the scheduler is
gone, the worker closes; when the worker is gone, the process reads the end of its standard input.

The worker itself imports neither Prefect nor the pipeline.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distributed import Reschedule, Status, Worker, get_worker

from flows.shards.process_end import await_end
from flows.shards.remote.parcel import Outcome, Parcel, pack, topic, unpack
from tasks.core.files import read_json
from tasks.core.paths import ShardPaths

__all__ = ["is_wanted", "work"]

_TELL = 1.0
"""Seconds between two events with what is new of the shard."""


def work(parcel: Parcel) -> Outcome:
    """Review the shard, on a thread of the worker and beside other shards; returns what it left.

    Raises:
        Reschedule: this worker is leaving; the scheduler finds another one.
    """
    worker = get_worker()
    with TemporaryDirectory(prefix="review-shard-", ignore_cleanup_errors=True) as folder:
        shard = ShardPaths(Path(folder) / parcel.place)
        shard.root.mkdir(parents=True)
        unpack({shard.settings.name: parcel.settings}, shard.settings.parent)
        unpack({shard.inputs.name: parcel.inputs}, shard.root)
        code, wanted = _run(worker, parcel, shard)
        if not wanted:
            raise Reschedule
        parts = sorted(shard.root.glob("part-*.jsonl"))
        # The marker last: it says that the others are there.
        return Outcome(code, pack([*parts, shard.exit_report, shard.done]))


def is_wanted(worker: Worker, key: str) -> bool:
    """Whether a task that runs at this worker still has somebody who waits for its result.

    Reads `Worker.state.tasks[key].state`, which Dask documents and does not promise; a test pins it.
    """
    task = worker.state.tasks.get(key)
    stays = worker.status in (Status.running, Status.paused)
    return stays and task is not None and task.state != "cancelled"


def _run(worker: Worker, parcel: Parcel, shard: ShardPaths) -> tuple[int, bool]:
    """Exit code of the shard's process, and whether it was wanted to its end."""
    command = [sys.executable, "-m", "flows.remote_shard"]
    arguments = [shard.root.name, str(shard.root), parcel.run, parcel.attempt]
    # Nothing is ever written to the pipe: it ends with this process, however that dies.
    with subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE) as process:  # noqa: S603
        try:
            _tell(worker, parcel, {"began": str(worker.name)})
            wanted = _watch(process, worker, parcel, shard)
        finally:
            process.kill()
            process.wait()
            _tell(worker, parcel, _told(shard) | {"ended": process.returncode})
    return process.returncode, wanted


def _watch(
    process: subprocess.Popen[bytes], worker: Worker, parcel: Parcel, shard: ShardPaths
) -> bool:
    """Wait until the process has ended, or stays after its work; False: nobody wants it any more."""
    known, told = dict[str, Any](), 0.0

    def join(seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return process.returncode is not None

    def look() -> None:
        nonlocal known, told
        now = time.monotonic()
        if now - told > _TELL and (news := _told(shard)) != known:
            _tell(worker, parcel, news)
            told, known = now, news

    def unwanted() -> bool:
        return not is_wanted(worker, parcel.attempt)

    return await_end(join, process.terminate, shard.done, unwanted, look)


def _told(shard: ShardPaths) -> dict[str, Any]:
    """What the run wants to know of a shard at work: its counts, and its flow run."""
    flow_run = shard.flow_run.read_text() if shard.flow_run.exists() else ""
    return {"progress": read_json(shard.progress), "flow_run": flow_run}


def _tell(worker: Worker, parcel: Parcel, what: dict[str, Any]) -> None:
    """Let the run know; who is not there any more misses nothing."""
    worker.log_event(topic(Path(parcel.place).name), what | {"attempt": parcel.attempt})
