"""The worker's end of the shared storage: what a shard needs, its heartbeat, what it leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any

from flows.shards.exit_report import ExitReport
from flows.shards.remote.lease import Heartbeat, Lease, LeaseMonitor, StalenessDetector
from flows.shards.watchdog import leave
from flows.ui.run_log import Log
from tasks.core.errors import ConfigError
from tasks.core.files import read_json, sha256
from tasks.core.paths import ShardPaths
from tasks.core.periodic import PeriodicTask
from tasks.outputs.shared_folder import SharedFolder

__all__ = ["LEASE", "WorkerSync", "digests", "fetch"]

LEASE = "lease.json"
_GLANCE = 0.5
_READ = 1.5
"""Seconds between looks at the lease: as long as a stopped run may go on sending."""
_SEND = 2.0
_GRACE = 25.0
"""Seconds that an orderly stop may take."""


def digests(shard: ShardPaths) -> dict[str, str]:
    """SHA-256 by name of the files that say what a shard does: they travel over Prefect's server."""
    return {path.name: sha256(path) for path in (shard.settings, shard.inputs)}


def fetch(exchange: SharedFolder, shard: ShardPaths, expected: Mapping[str, str]) -> None:
    """Fill the shard's folder as on the run's own machine, with the parts of earlier attempts.

    Raises:
        ConfigError: settings or inputs are not those with the `expected` digests.
    """
    exchange.download(shard.settings.name, shard.settings)
    exchange.download(shard.inputs.name, shard.inputs)
    changed = [name for name, found in digests(shard).items() if found != expected.get(name)]
    if changed:
        msg = (
            f"{' and '.join(changed)} in [workers] storage is not what the run wrote there: see who "
            "may write to it, then start the run again; no key was read and nothing was sent"
        )
        raise ConfigError(msg)
    for name in exchange.names():
        if name.startswith("part-"):
            exchange.download(name, shard.root / name)


class WorkerSync:
    """Keeps storage up to date while a shard works, and ends the process with its lease."""

    def __init__(
        self, exchange: SharedFolder, shard: ShardPaths, attempt: str, bound: float, log: Log
    ) -> None:
        self._exchange = exchange
        self._shard = shard
        self._attempt = attempt
        self._bound = bound
        self._log = log
        self._monitor = LeaseMonitor(attempt, StalenessDetector(bound))
        self._lease: Lease | None = None
        self._heartbeat = Heartbeat()
        self._sent = {path.name for path in self._parts()}
        self._sending = threading.Lock()
        self._leaving: threading.Thread | None = None

    @contextmanager
    def reflect(self) -> Iterator[None]:
        """Heartbeats and parts go out, the lease is watched; the last heartbeat says that it is the last."""
        pace = min(1.0, self._bound / 20)
        with ExitStack() as stack:
            stack.enter_context(PeriodicTask(_SEND * pace, self._send, "heartbeat"))
            # Two threads, so that a storage that hangs cannot keep the process from leaving.
            stack.enter_context(PeriodicTask(_READ * pace, self._read, "reading the lease"))
            stack.enter_context(PeriodicTask(_GLANCE, self._look, "lease"))
            try:
                yield
            finally:
                self._heartbeat = replace(self._heartbeat, ended=True)
                with suppress(Exception):
                    self._send()

    def deliver(self) -> None:
        """Bring every part and then the completion marker to storage, which may be away for a while."""
        patience = StalenessDetector(self._bound)
        while True:
            try:
                self._send()
                self._exchange.upload(self._shard.done)
            except Exception as error:
                if patience.is_stale("in vain"):
                    raise
                self._log.warning("storage: %s: %s", type(error).__name__, error)
                time.sleep(1)
            else:
                return

    def explain(self, words: ExitReport) -> None:
        """Why the shard is not finished, for the last heartbeat."""
        self._heartbeat = replace(self._heartbeat, words=asdict(words))

    def _send(self) -> None:
        with self._sending:
            for part in self._parts():
                if part.name not in self._sent:
                    self._exchange.upload(part)
                    self._sent.add(part.name)
            progress: dict[str, Any] = read_json(self._shard.progress) or {}
            self._heartbeat = replace(
                self._heartbeat, beat=self._heartbeat.beat + 1, progress=progress
            )
            self._exchange.write_json(Heartbeat.name(self._attempt), asdict(self._heartbeat))

    def _parts(self) -> list[Any]:
        return sorted(self._shard.root.glob("part-*.jsonl"))

    def _read(self) -> None:
        self._lease = Lease.from_json(self._exchange.read_json(LEASE)) or self._removed()

    def _removed(self) -> Lease | None:
        """A lease that is gone, with the run's folder, is one that says stop."""
        return None if self._lease is None else replace(self._lease, stop=True)

    def _look(self) -> None:
        why = self._monitor.why_over(self._lease)
        if why and self._leaving is None:
            self._log.warning("this attempt ends: %s", why)
            # On a thread that nobody joins: leaving in order ends this one.
            self._leaving = threading.Thread(target=leave, args=(_GRACE,), daemon=True)
            self._leaving.start()
