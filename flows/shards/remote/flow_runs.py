"""Flow runs of the shards' deployment, as Prefect's server knows them; it may be away at any time."""

from __future__ import annotations

import threading
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from tasks.core.errors import ConfigError, StateError
from tasks.report.server_health import server_answers

__all__ = ["Phase", "Seen", "cancel_flow_run", "check_deployment", "look_at", "start_flow_run"]

_starting = threading.Lock()
"""Prefect counts the subflow runs of a flow run without a lock."""


class Phase(Enum):
    """The phase that a flow run is in, as far as its starter has to know."""

    UNKNOWN = "the server does not answer"
    WAITING = "no worker has taken it"
    TAKEN = "a worker has it"
    OVER = "it has ended"


class Seen(NamedTuple):
    """A flow run at one moment."""

    phase: Phase
    state: UUID | None = None
    """Id of its state, which differs after every transition."""


def check_deployment(name: str) -> None:
    """See that the server has the deployment.

    Raises:
        ConfigError: it has not; the message says how to get it there.
        StateError: no server answers.
    """
    if not server_answers():
        msg = "[workers] need Prefect's server, which does not answer: start it (make up)"
        raise StateError(msg)
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(name)
        except ObjectNotFound:
            msg = (
                f"[workers] deployment {name!r} is not on the Prefect server: export PREFECT_API_URL "
                "of the server that the workers poll, and run `make up` or `prefect deploy` there"
            )
            raise ConfigError(msg) from None


def start_flow_run(deployment: str, parameters: dict[str, Any]) -> UUID:
    """Ask for a run of the deployment, linked to the current one; returns its id."""
    with _starting:
        return run_deployment(deployment, parameters=parameters, timeout=0, as_subflow=True).id  # type: ignore[union-attr]


def look_at(flow_run_id: UUID) -> Seen:
    """Where the flow run is."""
    if not server_answers():
        return Seen(Phase.UNKNOWN)
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(flow_run_id).state
    except ObjectNotFound:
        return Seen(Phase.OVER)
    except Exception:  # noqa: BLE001 - it went away between the two requests
        return Seen(Phase.UNKNOWN)
    if state is None or state.is_scheduled():
        return Seen(Phase.WAITING)
    return Seen(Phase.OVER if state.is_final() else Phase.TAKEN, state.id)


def cancel_flow_run(flow_run_id: UUID) -> None:
    """Ask the worker to end a flow run; one that nobody has taken is Cancelled at once."""
    if not server_answers():
        return
    with suppress(Exception), get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run_id, Cancelling())
