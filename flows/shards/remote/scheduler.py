"""The run's connection to the Dask scheduler of [workers], which may be away for a while."""

from __future__ import annotations

import logging
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple
from urllib.parse import urlsplit

import dask
from distributed import Client
from distributed.versions import VersionMismatchWarning

from flows.shards.remote.parcel import PLACE
from tasks.core.errors import ConfigError, SchedulerGone, StateError
from tasks.core.worker_settings import WorkersSettings

__all__ = ["Places", "await_workers", "check_scheduler", "connected"]

_CONNECT = 5.0
"""Seconds for one attempt to connect, and for an answer."""

_GLANCE = 0.25
_PORT = 8786


class _Absence:
    """How long a run has been without something; all its shards note what they see."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._noting = threading.Lock()

    def note(self, *, away: bool) -> float:
        """Seconds that it has been away, after this look."""
        with self._noting:
            now = time.monotonic()
            self._since = (self._since or now) if away else None
            return now - (self._since or now)


_scheduler, _workers = _Absence(), _Absence()

# What Dask says is about futures, graphs and ports; what it means for a run is said by the run.
for _name in ("distributed", "distributed.client", "distributed.gc", "tornado.application"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)
# A shard has a process of its own: other versions of Dask's parts at a worker do not matter to it.
warnings.filterwarnings("ignore", category=VersionMismatchWarning)
# The bytes of a shard are meant to travel with its task.
dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"})


class Places(NamedTuple):
    """Who is connected to the scheduler."""

    workers: int
    """Workers of this version."""
    places: int
    """Shards that they take at a time."""
    others: int
    """Workers of another version, or of somebody else."""

    def __str__(self) -> str:
        """For people, with what to do where no worker is of use."""
        if not self.places:
            return (
                f"no worker with {PLACE} is connected ({self.others} others are): start one that has "
                f'this version, with --resources "{PLACE}=4" for four shards at a time'
            )
        return f"{self.workers} workers with {self.places} places ({PLACE}) are connected"


def check_scheduler(settings: WorkersSettings) -> Places:
    """Look whether the scheduler is there, and who is connected to it.

    Raises:
        ConfigError: this machine has no certificate for it.
        StateError: it does not answer, or does not take this machine's certificate.
    """
    try:
        with _connect(settings) as client:
            _scheduler.note(away=False)
            _workers.note(away=False)  # what an earlier run of this process has seen
            return await_workers(client, settings)
    except OSError as error:
        msg = (
            f"[workers] scheduler {settings.scheduler} does not answer ({_reason(error)}): start it "
            "(dask scheduler), or see that this machine has its certificates"
        )
        raise StateError(msg) from None


def await_workers(client: Client, settings: WorkersSettings) -> Places:
    """Who is connected now.

    Raises:
        OSError: the scheduler does not answer.
        SchedulerGone: no worker has been of use to the run for longer than its patience.
    """
    found = _places(client)
    away = _workers.note(away=not found.places)
    if away > settings.worker_patience:
        msg = f"{found}; the run has waited for {away:.0f} s"
        raise SchedulerGone(msg)
    return found


def _places(client: Client) -> Places:
    # As client.scheduler_info() does, which would wait for ever for a scheduler that stands still.
    asked = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=_CONNECT)
    offered = [one.get("resources", {}) for one in asked["workers"].values()]
    ours = [int(one[PLACE]) for one in offered if one.get(PLACE, 0) >= 1]
    return Places(len(ours), sum(ours), len(offered) - len(ours))


@contextmanager
def connected(settings: WorkersSettings, stopping: Callable[[], bool]) -> Iterator[Client | None]:
    """A client of the scheduler, which is waited for; None: the run was stopped meanwhile.

    One for each attempt on a shard: what is in memory for it ends with the client.

    Raises:
        ConfigError: this machine has no certificate for it.
        SchedulerGone: the run has been without its scheduler for longer than its patience.
    """
    client = _await_scheduler(settings, stopping)
    if client is None:
        yield None
        return
    try:
        yield client
    finally:
        # A scheduler that has become silent is not told.
        with suppress(OSError):
            client.close()


def _await_scheduler(settings: WorkersSettings, stopping: Callable[[], bool]) -> Client | None:
    while not stopping():
        try:
            client = _connect(settings)
        except OSError as error:
            away = _scheduler.note(away=True)
            if away > settings.scheduler_patience:
                msg = (
                    f"the scheduler {settings.scheduler} has been away for {away:.0f} s "
                    f"({_reason(error)}): start it and its workers, then run this again"
                )
                raise SchedulerGone(msg) from None
            _await_port(settings, settings.scheduler_patience - away, stopping)
        else:
            _scheduler.note(away=False)
            return client
    return None


def _await_port(settings: WorkersSettings, seconds: float, stopping: Callable[[], bool]) -> None:
    """Wait until somebody listens there; a stop ends the waiting, which Dask's own would not."""
    where = urlsplit(settings.scheduler)
    deadline = time.monotonic() + seconds
    while not stopping() and time.monotonic() < deadline:
        time.sleep(_GLANCE)
        try:
            socket.create_connection((where.hostname or "", where.port or _PORT), 1.0).close()
        except OSError:
            continue
        return


class _Client(Client):  # type: ignore[misc]  # Dask has no types
    """A client that the garbage collector does not close.

    Closing waits for a lock of Dask's that a thread holds while it starts another client, and the
    collector may come in that very thread: the run would wait for ever. What could not be made or closed
    leaves an idle thread.
    """

    def __del__(self) -> None:
        pass


def _connect(settings: WorkersSettings) -> Client:
    try:
        return _Client(settings.scheduler, timeout=_CONNECT, set_as_default=False)
    except (TypeError, RuntimeError, ValueError) as error:
        # No certificate for tls://, or tcp:// where Dask's settings require encryption.
        msg = (
            f"[workers] scheduler {settings.scheduler} cannot be used ({error}): export "
            "DASK_DISTRIBUTED__COMM__TLS__... with the certificates, see deployments/README.md"
        )
        raise ConfigError(msg) from None


def _reason(error: OSError) -> str:
    cause = error.__cause__ or error
    # Before that Dask names an object of its own.
    return str(cause).rpartition(">: ")[2] or type(cause).__name__
