"""
The health of Prefect's server, which is a display: while it does not answer, the work goes on.

Its client tries a request again for a minute, which is right for the state of a run and wrong for
everything that only shows something: ask here first.
"""

from __future__ import annotations

import time

from prefect.client.orchestration import get_client

__all__ = ["await_server", "server_answers"]

_PATIENCE = 5.0
"""Seconds for one look."""

_RESTART = 10.0
"""Seconds that a server may be restarting before a shard works without it."""


def server_answers() -> bool:
    """Whether the server of this process's settings answers now."""
    with get_client(sync_client=True, httpx_settings={"timeout": _PATIENCE}) as client:
        return client.api_healthcheck() is None


def await_server(seconds: float = _RESTART) -> bool:
    """Wait for a server that is being restarted, at most `seconds`; whether it answers then."""
    deadline = time.monotonic() + seconds
    while not server_answers():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
