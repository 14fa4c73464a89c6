"""The sandbox as a process of its own, for tests, benchmarks and rehearsals in code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tasks.core.errors import ConfigError

__all__ = ["Sandbox", "start_sandbox"]

_STOP_SECONDS = 10.0


class Sandbox:
    """A running sandbox. `base_url` is what OpenAI clients want: it ends in /v1, or as the profile
    it was started with has it; `root` is the same without a path.
    """

    def __init__(self, process: subprocess.Popen[str], base_url: str) -> None:
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

    def stop(self) -> None:
        """End the process and wait for it; may be called twice."""
        self._http.close()
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def start_sandbox(port: int = 0, *, profile: str = "plain", **config: Any) -> Iterator[Sandbox]:
    """Run a sandbox on loopback; `config` is `SandboxConfig` as plain data.

    `profile` is whose refusals, headers, units and reply shapes it has: a name in PROFILES.

    It is ready when this yields, and ends with the block or with this process, however that dies.

    Raises:
        ConfigError: the process did not come up; the message is its own.
    """
    command = [sys.executable, "-m", "deployments.sandbox"]
    process = subprocess.Popen(  # noqa: S603 -- our own interpreter and module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    settings = {"profile": profile, **config}
    sandbox = Sandbox(process, _handshake(process, {"port": port, "settings": settings}))
    try:
        yield sandbox
    finally:
        sandbox.stop()


def _handshake(process: subprocess.Popen[str], given: dict[str, Any]) -> str:
    """Hand over the settings, which may hold keys, and wait for the address."""
    if process.stdin is None or process.stdout is None:
        msg = "the sandbox was started without pipes: start it by start_sandbox"
        raise ConfigError(msg)
    process.stdin.write(json.dumps(given) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline() or '{"error": "it ended at once"}')
    if "error" in answer:
        process.communicate()
        msg = f"the sandbox did not start: {answer['error']}"
        raise ConfigError(msg)
    return str(answer["base_url"])
