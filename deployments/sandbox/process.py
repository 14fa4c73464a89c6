"""The sandbox as a process of its own, for tests, benchmarks and rehearsals in code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from deployments.child import Child, child_server
from tasks.core.errors import ConfigError

__all__ = ["Sandbox", "start_sandbox"]

_START_SECONDS = 60.0


class Sandbox:
    """A running sandbox. `base_url` is what OpenAI clients want: it ends in /v1, or as the profile
    it was started with has it; `root` is the same without a path.
    """

    def __init__(self, process: Child, base_url: str) -> None:
        self.base_url = base_url
        self._process = process
        self.root = "/".join(base_url.split("/", 3)[:3])
        self._http = httpx.Client(base_url=self.root, timeout=30.0)

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def stats(self) -> dict[str, Any]:
        """All counts since the last reset."""
        return dict(self._http.get("/stats").raise_for_status().json())

    def log(self, after: int = 0) -> list[dict[str, Any]]:
        """One row per request whose number is above `after`, oldest first."""
        answer = self._http.get("/log", params={"after": after})
        return list(answer.raise_for_status().json())

    def control(self, **changes: Any) -> dict[str, Any]:
        """Change settings while the sandbox runs; returns all of them, keys hidden.

        Raises:
            ConfigError: a name or value is wrong; nothing was changed.
        """
        answer = self._http.post("/control", json=changes)
        if answer.is_client_error:
            raise ConfigError(answer.json()["error"]["message"])
        return dict(answer.raise_for_status().json())

    def bill(self) -> dict[str, Any]:
        """Tokens and US dollars by tier (online, batch, flex) since the last reset."""
        return dict(self._http.get("/bill").raise_for_status().json())

    def batch_log(self) -> dict[str, Any]:
        """All batches, oldest first, and the files that there are now."""
        return dict(self._http.get("/batch-log").raise_for_status().json())

    def advance(self, seconds: float) -> None:
        """Move the batch clock forward."""
        self._http.post("/batch-clock", json={"advance": seconds}).raise_for_status()

    def reset(self) -> None:
        """Back to the settings it was started with; all counts and quotas at zero."""
        self._http.post("/reset").raise_for_status()

    def close(self) -> None:
        """Close our connections to it."""
        self._http.close()


@contextmanager
def start_sandbox(port: int = 0, *, profile: str = "plain", **config: Any) -> Iterator[Sandbox]:
    """Run a sandbox on loopback; `config` is `SandboxConfig` as plain data.

    `profile` is whose refusals, headers, units and reply shapes it has: a name in PROFILES.

    It is ready when this yields, and ends with the block or with this process, however that dies.

    Raises:
        ConfigError: the process did not come up; the message is its own.
    """
    given = {"port": port, "settings": {"profile": profile, **config}}
    with child_server("deployments.sandbox", given, "the sandbox", _START_SECONDS) as started:
        sandbox = Sandbox(*started)
        try:
            yield sandbox
        finally:
            sandbox.close()
