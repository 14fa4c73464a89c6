"""What batches of a run need, opened together and closed together: state, keys, clients."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from tasks.batch.rounds import Rounds
from tasks.batch.steps import Endpoint, Steps
from tasks.core.quotas import AppId
from tasks.core.run import Run
from tasks.upstream.batches.client import BatchClient
from tasks.upstream.batches.dialect import dialect_of
from tasks.upstream.batches.store import open_batches
from tasks.upstream.budget import Budget
from tasks.upstream.calls.adaptations import Adaptations
from tasks.upstream.calls.client_pool import ClientPool
from tasks.upstream.calls.key_ring import KeyRing
from tasks.upstream.journal import open_journal
from tasks.upstream.quota import Quota

__all__ = ["batch_app_ids", "open_rounds", "open_steps"]


def batch_app_ids(run: Run) -> tuple[AppId, ...]:
    """The app_ids that may have batches, whatever [batch] says of this run."""
    return tuple(app.record(alias) for alias, app in run.settings.app_ids.items() if app.batch)


@contextmanager
def open_steps(
    run: Run, keys: Mapping[str, SecretStr], folder: Path, stop: threading.Event, log: Any
) -> Iterator[Steps]:
    """The steps of batches with this run's app_ids; `folder` has files on their way.

    Raises:
        StateError: the state cannot be used.
    """
    ring = KeyRing.of(keys)
    with ExitStack() as stack:
        pool = ClientPool(
            ring,
            options={one.alias: one.http for one in run.settings.pool},
            max_clients=run.settings.max_clients,
            timeout=run.settings.timeout,
            connect_timeout=run.settings.connect_timeout,
        )
        stack.callback(pool.close)
        journal = stack.enter_context(open_journal(run.journal, patient=True))
        store = stack.enter_context(open_batches(run.batches))
        quota = Quota(
            run.ledger, run.settings.pool, margin=run.settings.margin, run_id=run.run_id, stop=stop
        )
        stack.callback(quota.close)
        yield Steps(
            run=run,
            store=store,
            journal=journal,
            endpoints={
                one.alias: _endpoint(run, one, pool, stop)
                for one in batch_app_ids(run)
                if one.alias in ring
            },
            adaptations=Adaptations(quota),
            scrub=ring.scrub,
            folder=folder,
            log=log,
            budget=Budget(quota, run.settings.budget, run.settings.prices, stop),
        )


def _endpoint(run: Run, app_id: AppId, pool: ClientPool, stop: threading.Event) -> Endpoint:
    dialect = dialect_of(run.settings.app_ids[app_id.alias].batch_dialect)
    return Endpoint(app_id, BatchClient(pool, app_id, dialect, stop=stop), dialect)


@contextmanager
def open_rounds(
    run: Run,
    keys: Mapping[str, SecretStr],
    folder: Path,
    *,
    started: float,
    log: Any,
    **watched: Any,
) -> Iterator[Rounds]:
    """The rounds of a run that began at `started`; `watched` are `look`, `tell`, `show` and `poll` of Rounds.

    When the block ends, what still works is let go, for the next run to take over.
    """
    stop = threading.Event()
    with open_steps(run, keys, folder, stop, log) as steps:
        rounds = Rounds(steps, started, **watched)
        try:
            yield rounds
        finally:
            stop.set()
            rounds.close()
