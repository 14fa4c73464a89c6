"""One attempt on a shard by a worker: started through its deployment, followed through shared storage.

The server tells who has taken the flow run, storage tells that somebody works on it: a worker that
died with its machine says nothing to either, and is noticed by what stays the same.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

import orjson

from flows.shards.flow_run_states import note_flow_run
from flows.shards.process import GRACE
from flows.shards.remote.flow_runs import Phase, Seen, cancel_flow_run, look_at, start_flow_run
from flows.shards.remote.lease import Heartbeat, Lease, StalenessDetector
from flows.shards.remote.worker_sync import LEASE, digests
from tasks.core.errors import ConfigError
from tasks.core.files import write_json
from tasks.core.paths import ShardPaths
from tasks.core.periodic import PeriodicTask
from tasks.core.run import Run
from tasks.core.settings import WorkersSettings
from tasks.outputs.shared_folder import open_shared_folder
from tasks.report.server_health import await_server

__all__ = ["run_attempt"]

_log = logging.getLogger("tasks.workers")
"""As if of `tasks`: it then is in the log of the run, and this is no thread with a run of its own."""

_GLANCE = 1.0
_RENEW = 3.0
_ASK_SERVER = 5.0
"""Seconds between looks at storage, renewals of the lease, and requests to Prefect's server."""

_LOST = "its worker has given no sign of life"
_OVER = "its flow run has ended"


def run_attempt(run: Run, shard: ShardPaths, stopping: Callable[[], bool]) -> str:
    """Have a worker review the shard; its files are then in the shard's folder. Returns how it ended.

    Whether it is finished is told by the completion marker alone.

    Raises:
        ConfigError: the storage cannot be used by this machine.
    """
    workers = run.settings.workers
    if workers is None:
        msg = "[workers] is not in review.toml"
        raise ConfigError(msg)
    return _Attempt(run, shard, workers, stopping).work()


class _Attempt:
    def __init__(
        self, run: Run, shard: ShardPaths, workers: WorkersSettings, stopping: Callable[[], bool]
    ) -> None:
        self._run = run
        self._shard = shard
        self._workers = workers
        self._stopping = stopping
        self._exchange = (
            open_shared_folder(workers.storage).folder(run.run_id).folder(shard.root.name)
        )
        self._lease = Lease(uuid.uuid4().hex, 0)
        self._leasing = threading.Lock()
        self._heartbeat: Heartbeat | None = None
        self._staleness = StalenessDetector(workers.lost_after)
        self._seen, self._waits = Seen(Phase.WAITING), 0
        self._started = self._asked = time.monotonic()
        self._complained = False

    def work(self) -> str:
        self._renew()
        self._exchange.upload(self._shard.settings)
        self._exchange.upload(self._shard.inputs)
        with PeriodicTask(
            min(_RENEW, self._workers.lost_after / 10), self._renew, "renewing a lease"
        ):
            ending = self._follow()
        self._collect()
        return ending

    def _follow(self) -> str:
        while not await_server(_GLANCE):
            if self._stopping():
                return "it was not started"
        flow_run = self._start()
        note_flow_run(self._shard, flow_run)
        while not (ending := self._look(flow_run)):
            if self._stopping():
                return self._stop(flow_run)
            time.sleep(_GLANCE)
        return ending

    def _start(self) -> UUID:
        parameters = {
            "storage": self._workers.storage,
            "run_id": self._run.run_id,
            "name": self._shard.root.name,
            "attempt": self._lease.attempt,
            "digests": digests(self._shard),
        }
        return start_flow_run(self._workers.deployment, parameters)

    def _look(self, flow_run: UUID) -> str:
        """How the attempt ended, or nothing."""
        over = self._ask(flow_run).phase is Phase.OVER
        self._read()
        if self._heartbeat is not None and self._heartbeat.ended:
            return "it ended in order"
        if over:
            return _OVER
        return _LOST if self._staleness.is_stale(self._life()) else ""

    def _life(self) -> tuple[Any, int]:
        """What has to change: the beat; before the first, its state at the server, if a worker has it."""
        if self._heartbeat is not None:
            return "beat", self._heartbeat.beat
        self._waits += self._seen.phase in (Phase.WAITING, Phase.UNKNOWN)
        return self._seen.state, self._waits

    def _ask(self, flow_run: UUID) -> Seen:
        if time.monotonic() - self._asked > _ASK_SERVER:
            self._seen, self._asked = look_at(flow_run), time.monotonic()
            if self._seen.phase is Phase.WAITING:
                self._complain()
        return self._seen

    def _complain(self) -> None:
        """Once: nobody may be there."""
        if not self._complained and time.monotonic() - self._started > self._workers.lost_after:
            self._complained = True
            _log.warning(
                "%s waits for a worker: see that one polls the pool of %s and has a place free",
                self._shard.root.name,
                self._workers.deployment,
            )

    def _read(self) -> None:
        """The newest heartbeat; its counts go where the Monitor looks. Storage may be away."""
        try:
            heartbeat = Heartbeat.from_json(
                self._exchange.read_json(Heartbeat.name(self._lease.attempt))
            )
        except Exception:  # noqa: BLE001 - whatever the driver raises
            return
        if heartbeat is not None and heartbeat != self._heartbeat:
            self._heartbeat = heartbeat
            write_json(self._shard.progress, heartbeat.progress)

    def _renew(self) -> None:
        with self._leasing:
            self._lease = replace(self._lease, beat=self._lease.beat + 1, stop=self._stopping())
            self._exchange.write_json(LEASE, asdict(self._lease))

    def _stop(self, flow_run: UUID) -> str:
        """Tell the worker through both ways, and wait for the calls in flight."""
        self._renew()
        cancel_flow_run(flow_run)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            self._asked = 0.0
            # Its last heartbeat comes before its last state, which is ours to set only afterwards.
            if self._look(flow_run) == _LOST or self._seen.phase is Phase.OVER:
                break
            time.sleep(_GLANCE)
        return "it was stopped"

    def _collect(self) -> None:
        """Bring the outputs here, the marker last; or why there is none."""
        names = self._exchange.names()
        if self._shard.done.name not in names:
            if self._heartbeat is not None and self._heartbeat.words is not None:
                self._shard.exit_report.write_bytes(orjson.dumps(self._heartbeat.words))
            return
        for name in names:
            if name.startswith("part-"):
                self._exchange.download(name, self._shard.root / name)
        self._exchange.download(self._shard.done.name, self._shard.done)
