"""The subflow of a shard as a deployment of its own: any worker that reaches storage and state runs it.

Requires: the keys that review.toml names, in the worker's environment or in Secret blocks, and
NIGHTLY_REVIEW_KEYS, which names those of them that a run may use.
"""

from __future__ import annotations

import platform
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect import State, flow
from prefect.runtime import flow_run
from prefect.states import Cancelled

from flows.review_shard import SLICES, own_logger, review, state_of
from flows.setup.key_rules import check_permitted
from flows.shards.exit_report import ExitReport, reserve_exit_report, write_exit_report
from flows.shards.remote.lease import Heartbeat, Lease
from flows.shards.remote.worker_sync import LEASE, WorkerSync, fetch
from flows.ui.run_log import Log, into_run
from tasks.core.errors import ConfigError
from tasks.core.paths import ShardPaths
from tasks.core.run import Run
from tasks.core.settings import Settings
from tasks.infer.task import infer
from tasks.outputs.shared_folder import SharedFolder, open_shared_folder

__all__ = ["remote_shard"]


def _name() -> str:
    """The name of the flow run: its run and its shard."""
    return f"{flow_run.parameters['run_id']} {flow_run.parameters['name']}"


@flow(name="review-shard", flow_run_name=_name, task_runner=SLICES, persist_result=False)
def remote_shard(
    storage: str, run_id: str, name: str, attempt: str, digests: dict[str, str]
) -> State[Any]:
    """Review a shard of a run on another machine. Started by that run, not by hand.

    Args:
        storage: The folder of [workers] in the run's review.toml.
        run_id: The run.
        name: The shard.
        attempt: What the run's lease must name; every start of the shard has its own.
        digests: SHA-256 of the shard's settings and inputs, which are in the storage.
    """
    with TemporaryDirectory(prefix="review-shard-") as folder:
        shard = ShardPaths(Path(folder) / name)
        shard.root.mkdir()
        log = own_logger(shard)
        with into_run(log):
            exchange = open_shared_folder(storage).folder(run_id).folder(name)
            lease = Lease.from_json(exchange.read_json(LEASE))
            if lease is None or lease.attempt != attempt or lease.stop:
                return Cancelled(message="this attempt is over: its run has ended or begun another")
            log.info("%s works on %s", name, platform.node())
            try:
                settings = _settings(exchange, shard, digests)
            except ConfigError as error:
                return _refused(exchange, shard, attempt, error)
            return _reflected(exchange, shard, attempt, settings, log)


def _settings(exchange: SharedFolder, shard: ShardPaths, digests: dict[str, str]) -> Settings:
    reserve_exit_report(shard)
    fetch(exchange, shard, digests)
    settings = Run.read(shard.settings).settings
    check_permitted(settings)
    return settings


def _refused(
    exchange: SharedFolder, shard: ShardPaths, attempt: str, error: ConfigError
) -> State[Any]:
    words = write_exit_report(shard, error)
    heartbeat = Heartbeat(beat=1, ended=True, words=asdict(words))
    exchange.write_json(Heartbeat.name(attempt), asdict(heartbeat))
    return state_of(words)


def _reflected(
    exchange: SharedFolder, shard: ShardPaths, attempt: str, settings: Settings, log: Log
) -> State[Any]:
    bound = settings.workers.lost_after if settings.workers else 60.0
    sync = WorkerSync(exchange, shard, attempt, bound, log)
    with sync.reflect():
        result = review(shard, log, lambda _, first, last: infer.submit(first, last))
        if isinstance(result, ExitReport):
            sync.explain(result)
            return state_of(result)
        try:
            sync.deliver()
        except Exception as error:  # noqa: BLE001 - a driver may raise anything
            return state_of(write_exit_report(shard, error))
    return state_of(result)
