"""An operator of a real server, worker and deployments, as `make up` starts them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from deployments.sandbox import Sandbox
from tests import warm
from tests.conftest import kill_group

__all__ = ["ALIASES", "KEYS", "Operator", "Stack"]

KEYS = {"OPS_KEY_ONE": "planted-key-one-4b7e21", "OPS_KEY_TWO": "planted-key-two-9d03c8"}
"""Planted keys: distinctive, so that a leak is found by its text."""

ALIASES = {"team-one": "OPS_KEY_ONE", "team-two": "OPS_KEY_TWO"}
PATIENCE = 240.0

_CONFIG = """
mode = "check"
processes = 1
shards = 1
threads = {threads}
state = "{state}"
margin = 0.05
give_up_after = 5
{apps}
[[check]]
name = "one"
model = "model-{name}"
"""
_APP = """
[app_ids.{alias}]
key = "env:{variable}"
base_url = "{url}"
quota = ["500/1s"]
"""


@dataclass(frozen=True, slots=True)
class Stack:
    """What `make up` left running, in a folder of its own."""

    folder: Path
    port: int
    reports: str
    """URL of the pages of all runs."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a shell needs to talk to it."""
        kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
        home = str(self.folder / "client")
        return kept | {
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_API_AUTH_STRING": self.login,
            "PREFECT_HOME": home,
        }

    @property
    def operators(self) -> Path:
        """The operator's folder: settings, sources, and `runs`, whose reports are served."""
        place = self.folder.parent / "operator"
        place.mkdir(exist_ok=True)
        return place

    @property
    def login(self) -> str:
        """What `up` made; blank before that."""
        file = self.folder / "login"
        return file.read_text() if file.exists() else ""

    def using(self) -> AbstractContextManager[None]:
        """Code of ours in the block talks to this server."""
        return temporary_settings(
            {PREFECT_API_URL: f"{self.url}/api", PREFECT_API_AUTH_STRING: self.login}
        )

    def command(self, *arguments: str, program: str = "nightly-review", **extra: str) -> str:
        """Run a command in another folder than the project's; returns what it printed."""
        environment = self.environment | extra
        with warm.start_command(
            [*arguments], self.folder.parent, environment, program=program
        ) as process:
            try:
                said, complained = process.communicate(PATIENCE)
            finally:
                kill_group(process)
        assert process.returncode == 0, said + complained
        return said


class Operator:
    """Starts runs, waits for what becomes of them, and reads it back through the API."""

    def __init__(
        self, stack: Stack, upstream: Sandbox, client: SyncPrefectClient, folder: Path
    ) -> None:
        self.stack = stack
        self.upstream = upstream
        self.client = client
        self.folder = folder

    def config(self, name: str, *aliases: str, threads: int = 4) -> str:
        """A review.toml with its own journal and the model `model-<name>`; returns its path."""
        url = self.upstream.base_url
        apps = (
            _APP.format(alias=alias, variable=ALIASES[alias], url=url)
            for alias in aliases or ("team-one",)
        )
        path = self.folder / f"{name}.toml"
        path.write_text(
            _CONFIG.format(
                name=name, state=self.folder / f"state-{name}", threads=threads, apps="".join(apps)
            )
        )
        return str(path)

    def source(self, name: str, inputs: int, *marked: str) -> str:
        """A source of small inputs that differ; the first ones meet the faults `marked`."""
        rows = []
        for number in range(inputs):
            fault = f"  # [[sandbox:{marked[number]}]]" if number < len(marked) else ""
            code = f"def {name}_{number}(rows):\n    return sum(rows) / len(rows){fault}\n"
            rows.append({"input_id": f"{name}-{number:03}", "content": code})
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    def output(self, name: str) -> Path:
        return self.folder / "runs" / name

    def start(self, deployment: str, name: str, source: str, config: str, **more: Any) -> FlowRun:
        """Have the worker run a deployment; outputs go to `output(name)`."""
        found = self.client.read_deployment_by_name(f"bulk-review/{deployment}")
        parameters = {"source": source, "config": config, "output": str(self.output(name)), **more}
        return self.client.create_flow_run_from_deployment(found.id, parameters=parameters)

    def using(self) -> AbstractContextManager[None]:
        """Code of ours in the block talks to this server."""
        return self.stack.using()

    def read(self, run: FlowRun) -> FlowRun:
        return self.client.read_flow_run(run.id)

    def until(self, true: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        """Wait for a condition; returns its value."""
        deadline = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
            time.sleep(0.2)
        return found

    def ended(self, run: FlowRun, seconds: float = PATIENCE) -> FlowRun:
        """The run in its final state."""

        def final() -> FlowRun | None:
            now = self.read(run)
            return now if now.state is not None and now.state.is_final() else None

        found: FlowRun = self.until(final, f"the end of {run.name}", seconds)
        return found

    def calls(self, name: str) -> list[float]:
        """When requests of the config `name` arrived so far, in seconds since the epoch."""
        return [row["epoch"] for row in self.upstream.log() if row["model"] == f"model-{name}"]

    def shards(self, run: FlowRun) -> list[FlowRun]:
        """Its subflow runs."""
        parent = FlowRunFilterParentFlowRunId(any_=[run.id])
        return self.client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parent))

    def artifacts(self, run: FlowRun) -> dict[str, dict[str, Any]]:
        """By key."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [str(run.id)]}}}
        found = self.client.request("POST", "/artifacts/filter", json=wanted).json()
        return {one["key"]: one for one in found}

    def events(self, prefix: str) -> list[dict[str, Any]]:
        """The newest events whose names begin so."""
        wanted = {"filter": {"event": {"prefix": [prefix]}}, "limit": 50}
        found = self.client.request("POST", "/events/filter", json=wanted).json()
        return list(found["events"])

    def log(self, run_id: UUID) -> list[str]:
        """The lines of one flow run."""
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
        return [line.message for line in self.client.read_logs(wanted, limit=200)]
