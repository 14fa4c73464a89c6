"""
A run that asks by itself whether it is to stop.

A worker tells its runs of a cancellation, as long as it lives and its connection to the server does.
After its death, in a run that no worker started, and after a restart of the server, nobody would.
"""

from __future__ import annotations

import threading
from typing import Self
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run

from tasks.core.errors import RunCancelled
from tasks.core.periodic import PeriodicTask
from tasks.report.server_health import server_answers

__all__ = ["CancelWatch"]

EVERY = 10.0
"""Seconds between two looks: two small requests."""

_ENDED = {StateType.CANCELLING, StateType.CANCELLED}


class CancelWatch:
    """Looks at the state of the current flow run while the block lasts; a server that is away says nothing."""

    def __init__(self) -> None:
        self._run = UUID(flow_run.id) if flow_run.id else None
        self._cancelled = threading.Event()
        self._looking = PeriodicTask(EVERY, self._look, "asking whether the run is cancelled")

    def __enter__(self) -> Self:
        self._looking.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._looking.__exit__(*error)

    def raise_if_cancelled(self) -> None:
        """Leave the run as soon as a look has found it cancelled.

        Raises:
            RunCancelled: somebody cancelled the run.
        """
        if self._cancelled.is_set():
            msg = "cancelled; the answers so far are in the journal"
            raise RunCancelled(msg)

    def _look(self) -> None:
        if self._run is None or self._cancelled.is_set() or not server_answers():
            return
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(self._run).state
        if state is not None and state.type in _ENDED:
            self._cancelled.set()
