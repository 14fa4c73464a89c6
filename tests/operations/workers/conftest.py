"""A scheduler with two workers for all tests of a file, and runs over them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from deployments.sandbox import Sandbox
from flows.ui.server import new_login, server_login
from tests.conftest import KEYS, Job, PrefectServer
from tests.operations.workers.dask_workers import Workers
from tests.operations.workers.nights import QUOTA, WINDOW, MakeJob, review_toml
from tests.runs import await_condition, free_port


@pytest.fixture(scope="module")
def all_workers(
    prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    """A scheduler; nobody works for it yet."""
    kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    lent = {"NIGHTLY_REVIEW_KEYS": "KEY_*"}
    environment = kept | prefect_server.environment | KEYS | lent
    folder = tmp_path_factory.mktemp("workers")
    made = Workers(folder, free_port(), environment, tmp_path_factory.getbasetemp())
    made.start_scheduler()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def workers(all_workers: Workers) -> Iterator[Workers]:
    """Two are at work, a place each; the next test has new ones."""
    if all_workers.started["scheduler"].poll() is not None:
        all_workers.stop()  # workers without a scheduler are on their way out
        all_workers.start_scheduler()
    all_workers.start("one", "two")
    yield all_workers
    for name in set(all_workers.started) - {"scheduler"}:
        all_workers.kill(name)


@pytest.fixture
def tight(sandbox: Sandbox) -> Sandbox:
    """The sandbox, with the quotas of the runs."""
    sandbox.control(quota=[f"{QUOTA}/{WINDOW}s"], latency=0.2)
    return sandbox


@pytest.fixture
def job(make_job: MakeJob, tight: Sandbox, all_workers: Workers, database: str) -> Job:
    """A run over the workers."""
    return make_job(review_toml(tight.base_url, all_workers.address, database))


OwnWorkers = Callable[..., AbstractContextManager[Workers]]


@pytest.fixture
def own_workers(all_workers: Workers, tmp_path: Path) -> OwnWorkers:
    """A scheduler of the test's own, with workers "one" and "two" and more environment."""

    @contextmanager
    def start(environment: dict[str, str], *, scheme: str = "tcp") -> Iterator[Workers]:
        made = replace(
            all_workers, folder=tmp_path / "machines", port=free_port(), started={}, scheme=scheme,
            environment=all_workers.environment | environment,
        )  # fmt: skip
        try:
            made.start_scheduler()
            made.start("one", "two")
            yield made
        finally:
            made.stop()

    return start


@dataclass(slots=True)
class OwnServer:
    """A Prefect server that may be killed, and come back on the same data."""

    home: Path
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    login: str = field(default_factory=new_login)
    process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        origin = f"http://{self.host}:{self.port}"
        return server_login(self.login, origin) | {"PREFECT_API_URL": f"{origin}/api"}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        own = self.environment | {"PREFECT_HOME": str(self.home)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.ui.server", self.host, str(self.port)],
            env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        await_condition(self._answers, "Prefect's server")

    def kill(self) -> None:
        """End it without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)

    def _answers(self) -> bool:
        auth = httpx.BasicAuth(*self.login.split(":", 1))
        try:
            where = f"{self.environment['PREFECT_API_URL']}/health"
            return httpx.get(where, auth=auth, timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    """A Prefect server of the test's own; not started yet."""
    made = OwnServer(tmp_path / "server")
    try:
        yield made
    finally:
        made.kill()
