"""One attempt on a shard by a worker: its files go there as bytes, and come back so.

Prefect keeps task, retries and states of a shard, here; Dask finds a place, carries the bytes and
notices deaths. A shard whose worker died is begun elsewhere by the scheduler, in the same flow run.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from distributed import CancelledError, Client, Future
from distributed.comm import CommClosedError
from prefect.context import FlowRunContext

from flows.shards.flow_run_states import note_flow_run
from flows.shards.remote.parcel import PLACE, Outcome, Parcel, pack, topic, unpack
from flows.shards.remote.scheduler import await_workers, connected
from flows.shards.remote.worker import work
from tasks.core.files import write_json
from tasks.core.paths import ShardPaths
from tasks.core.worker_settings import WorkersSettings

__all__ = ["run_attempt"]

_log = logging.getLogger("tasks.workers")
"""As if of `tasks`: it then is in the log of the run, and this is no thread with a run of its own."""

_LOOK = 60.0
"""Seconds between two looks at who is connected; without a place, it is said after the first."""

_GLANCE = 0.25

_FETCH = 300.0
"""Seconds that the files of a shard may take from its worker to here."""

_GRACE = 30.0
"""Seconds that a worker gets to end a shard's calls in flight."""

_NOT_STARTED = "it was not started"


def run_attempt(workers: WorkersSettings, shard: ShardPaths, stopping: Callable[[], bool]) -> str:
    """Have a worker review the shard; its files are then in the shard's folder. Returns how it ended.

    Whether it is finished is told by the completion marker alone.

    Raises:
        SchedulerGone: the run has been without its scheduler, or without workers, for too long.
    """
    with connected(workers, stopping) as client:
        return _NOT_STARTED if client is None else _Attempt(client, workers, shard, stopping).work()


class _Attempt:
    def __init__(
        self,
        client: Client,
        workers: WorkersSettings,
        shard: ShardPaths,
        stopping: Callable[[], bool],
    ) -> None:
        self._client = client
        self._workers = workers
        self._shard = shard
        self._stopping = stopping
        self._id = f"{shard.root.parent.name}-{shard.root.name}-{uuid.uuid4().hex[:8]}"
        self._began, self._ended = threading.Event(), threading.Event()
        self._look_at = time.monotonic() + _LOOK
        self._told = False

    def work(self) -> str:
        self._client.subscribe_topic(topic(self._shard.root.name), self._hear)
        future = self._client.submit(
            work, self._parcel(), key=self._id, pure=False, resources={PLACE: 1}
        )
        while True:
            # Its worker may die with the files: then Dask has another one review the shard.
            with suppress(TimeoutError):
                if future.done():
                    return self._collect(future)
            if self._stopping():
                return self._stop(future)
            self._look()
            time.sleep(_GLANCE)

    def _parcel(self) -> Parcel:
        settings, inputs = self._shard.settings, self._shard.inputs
        files = pack([settings, inputs])
        place = "/".join(self._shard.root.parts[-4:])
        context = FlowRunContext.get()
        run = str(context.flow_run.id) if context is not None and context.flow_run else ""
        return Parcel(self._id, place, run, files[settings.name], files[inputs.name])

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        """What a worker lets us know; the topic is that of all runs."""
        _, what = event
        if what.get("attempt") != self._id:
            return
        if "began" in what:
            self._began.set()
            self._ended.clear()
            _log.info("%s is on %s", self._shard.root.name, what["began"])
        if what.get("progress"):
            write_json(self._shard.progress, what["progress"])
        if what.get("flow_run"):
            note_flow_run(self._shard, UUID(what["flow_run"]))
        if "ended" in what:
            self._ended.set()

    def _look(self) -> None:
        """Whether there are workers at all; a shard that waits for a place says so, once."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK
        with suppress(OSError):
            found = await_workers(self._client, self._workers)
            if not self._began.is_set() and not self._told:
                self._told = True
                _log.warning("%s waits for a place: %s", self._shard.root.name, found)

    def _stop(self, future: Future) -> str:
        """Nobody wants it any more: wait for the calls in flight."""
        with suppress(OSError, TimeoutError):
            self._client.cancel([future])
            if self._began.is_set():
                self._ended.wait(_GRACE)
        return "it was stopped"

    def _collect(self, future: Future) -> str:
        """Bring the files here, the marker last; or why there is none.

        Raises:
            TimeoutError: they do not come.
        """
        if future.status == "error":
            error = future.exception(_FETCH)
            return f"{type(error).__name__}: {error}"
        try:
            outcome: Outcome = future.result(_FETCH)
        except (CancelledError, CommClosedError):
            return "the connection to the scheduler was lost"
        unpack(outcome.files, self._shard.root)
        return f"exit code {outcome.code}"
