"""A Prefect server, a process work pool, a worker and the deployments, on this machine.

Everything it starts and stores is in one folder (data/state/prefect): pid files, logs, database.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import WorkerStatus
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from deployments.automate import install
from deployments.nightly import Nightly, with_nightly
from deployments.notify import install_notifications
from deployments.runs import cancel_runs
from deployments.services import Service
from flows.setup.config import read_config
from flows.ui.server import new_login, server_login
from tasks.core.credentials import without_keys
from tasks.core.errors import StateError
from tasks.report.links import REPORTS_FOLDER, REPORTS_URL

__all__ = ["FOLDER", "POOL", "REPORTS", "ROOT", "Local", "bring_down", "bring_up", "redeploy"]

ROOT = Path(__file__).resolve().parents[1]
"""The project root: deployments start their runs here."""

FOLDER = ROOT / "data" / "state" / "prefect"
REPORTS = ROOT / "data" / "runs"
"""Folder of the runs whose reports are served."""
POOL = "local"

_ENV_FILE = ROOT / "deployments" / "server.env"
_DEPLOYMENTS = ROOT / "deployments" / "prefect.yaml"
_LOST_RUNS = ROOT / "deployments" / "automations" / "lost_runs.yaml"
_START = 180.0
"""Seconds; the first start creates the database."""
_RUN_GRACE = 45.0
"""Seconds; the worker gives a cancelled run 30 of them to end in order."""
_WORKER_GRACE = 20.0
_SERVER_GRACE = 20.0
_MISSED_HEARTBEATS = 3


@dataclass(frozen=True, slots=True)
class Local:
    """The stack of one folder and port."""

    folder: Path = FOLDER
    port: int | None = None
    """None: as in server.env."""
    runs: int = 4
    """Flow runs at a time in the pool when it is made; an operator's number stays."""
    reports: Path = REPORTS
    """Folder of the runs whose reports are served."""
    reports_port: int | None = None
    """None: the one after the server's."""

    @property
    def pages(self) -> Service:
        """The reports of all runs."""
        return Service("reports", self.folder)

    @property
    def server(self) -> Service:
        return Service("server", self.folder)

    @property
    def worker(self) -> Service:
        return Service("worker", self.folder)

    @property
    def address(self) -> Path:
        """File with the URL of the API, for the command that stops the server."""
        return self.folder / "api.url"

    @property
    def nightly(self) -> Path:
        """File that says what the nightly reviews, and when; see deployments.nightly."""
        return self.folder / "nightly.yaml"

    @property
    def login(self) -> Path:
        """File with user and password of the API and the UI, for its owner only."""
        return self.folder / "login"

    def make_login(self) -> None:
        """Write a new login if there is none yet."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        with suppress(FileExistsError):
            file = os.open(self.login, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w") as opened:
                opened.write(new_login())

    def _read_login(self, known: dict[str, str]) -> str:
        # A login for another server may be exported: what ours takes is what counts here.
        exported = known.get("PREFECT_SERVER_API_AUTH_STRING")
        if exported:
            return exported
        try:
            return self.login.read_text()
        except FileNotFoundError:
            msg = f"{self.login} is missing: `nightly-review up` makes it"
            raise StateError(msg) from None

    @property
    def environment(self) -> dict[str, str]:
        """server.env, then what is exported, then what belongs to this folder."""
        known = read_env(_ENV_FILE) | os.environ
        port = str(self.port or known["PREFECT_SERVER_API_PORT"])
        host = known["PREFECT_SERVER_API_HOST"]
        shown = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared
        origin = f"http://{shown}:{port}"
        origins = known.get("PREFECT_SERVER_CORS_ALLOWED_ORIGINS") or origin
        pages = f"http://{shown}:{self.reports_port or int(port) + 1}"
        return (
            known
            | server_login(self._read_login(known), origins)
            | {
                "PREFECT_HOME": str(self.folder),
                "PREFECT_SERVER_API_PORT": port,
                "PREFECT_API_URL": f"{origin}/api",
                REPORTS_URL: pages,
                REPORTS_FOLDER: str(self.reports),
            }
        )

    @property
    def api(self) -> str:
        """URL of the API; without its last part, of the UI."""
        return self.environment["PREFECT_API_URL"]


def read_env(path: Path) -> dict[str, str]:
    """The NAME=VALUE lines of a file."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def bring_up(local: Local, say: Callable[[str], None] = print) -> None:
    """Start what does not run yet, then deploy. Doing it twice changes nothing.

    Raises:
        StateError: something did not come up; the message is its own.
    """
    local.make_login()
    environment = local.environment
    prefect = [sys.executable, "-m", "prefect"]
    # Not `prefect server start`: it answers whatever host name it is asked under.
    host, port = (environment[f"PREFECT_SERVER_API_{name}"] for name in ("HOST", "PORT"))
    server = [sys.executable, "-m", "flows.ui.server", host, port]
    fresh = local.server.start(server, without_keys(environment), ROOT)
    with _client(environment) as client:
        _wait(lambda: client.api_healthcheck() is None, local.server, "the Prefect server")
        local.address.write_text(local.api)
        say(f"server  {_started(fresh)}, {local.api.removesuffix('/api')}")
        _serve_reports(local, environment, host, say)
        _make_pool(client, local.runs)
        # A limit of the worker's own would kill it: it holds a crashed run's place for seconds, and
        # a retry of that run in these seconds ends the worker with a RuntimeError.
        command = ["worker", "start", "--pool", POOL, "--name", "local"]
        fresh = local.worker.start([*prefect, *command], environment, ROOT)
        nightly = _deploy(local, environment)
        say(f"deployed  all of deployments/prefect.yaml; {_told(nightly)}")
        if told := _notify(client, nightly):
            say(f"notifies  {', '.join(told)}")
        after = _MISSED_HEARTBEATS * int(environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
        install(client, _LOST_RUNS, {"lost_after": str(after)})
        _wait(lambda: _is_online(client), local.worker, "the worker")
        say(f"worker  {_started(fresh)}, pool {POOL}")


def _serve_reports(
    local: Local, environment: dict[str, str], host: str, say: Callable[[str], None]
) -> None:
    url = environment[REPORTS_URL]
    local.reports.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "deployments.run_pages.server", host]
    command += [url.rpartition(":")[2], str(local.reports), str(local.login)]
    fresh = local.pages.start(command, environment, ROOT)
    _wait(lambda: _answers(url), local.pages, "the server of the reports")
    say(f"reports  {_started(fresh)}, {url}")


def _answers(url: str) -> bool:
    try:
        # What is on that port may be another server: ours asks for a login.
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.UNAUTHORIZED
    except httpx.HTTPError:
        return False


def bring_down(local: Local, say: Callable[[str], None] = print) -> None:
    """Stop what `bring_up` started in this folder: first the worker, with its runs, then the server.

    Runs that are under way are Cancelled; killed with the worker they would stay Running.
    """
    if local.worker.pid and local.server.pid:
        environment = local.environment | {"PREFECT_API_URL": local.address.read_text()}
        with suppress(httpx.HTTPError), _client(environment) as client:
            cancelled = cancel_runs(client, POOL, _RUN_GRACE)
            say(f"runs  {cancelled} cancelled")
    graces = {"worker": _WORKER_GRACE, "reports": _SERVER_GRACE, "server": _SERVER_GRACE}
    for service in (local.worker, local.pages, local.server):
        grace = graces[service.name]
        stopped = service.stop(grace)
        say(f"{service.name}  {'stopped' if stopped else 'was not running'}")


def _client(environment: dict[str, str]) -> SyncPrefectClient:
    login = environment.get("PREFECT_API_AUTH_STRING")
    with temporary_settings(
        {PREFECT_API_URL: environment["PREFECT_API_URL"], PREFECT_API_AUTH_STRING: login}
    ):
        return get_client(sync_client=True)


def _started(fresh: bool) -> str:
    return "started" if fresh else "runs already"


def _wait(ready: Callable[[], bool], service: Service, what: str) -> None:
    deadline = time.monotonic() + _START
    while not ready():
        if service.pid is None or time.monotonic() > deadline:
            msg = f"{what} did not come up; {service.log} ends with:\n{service.exit_report()}"
            raise StateError(msg)
        time.sleep(0.2)


def _make_pool(client: SyncPrefectClient, runs: int) -> None:
    try:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", concurrency_limit=runs))
    except ObjectAlreadyExists:
        return


def _is_online(client: SyncPrefectClient) -> bool:
    workers = client.read_workers_for_work_pool(POOL)
    return any(worker.status == WorkerStatus.ONLINE for worker in workers)


def redeploy(local: Local) -> bool:
    """Deploy again, to the server that runs in this folder; whether there is one.

    Raises:
        StateError: it does not take the deployments.
        ConfigError: the nightly's review.toml cannot be used, or names a block that is not there.
    """
    if not local.server.pid:
        return False
    environment = local.environment | {"PREFECT_API_URL": local.address.read_text()}
    nightly = _deploy(local, environment)
    with _client(environment) as client:
        _notify(client, nightly)
    return True


def _notify(client: SyncPrefectClient, nightly: Nightly | None) -> list[str]:
    """Install what [notify] of the nightly's review.toml says; without a nightly, what is there stays."""
    if nightly is None:
        return []
    return install_notifications(client, read_config(nightly.config).notify)


def _told(nightly: Nightly | None) -> str:
    if nightly is None:
        return "no schedule yet, `nightly-review deploy SOURCE` makes it"
    return f"nightly reviews {nightly.source}, {nightly.cron} ({nightly.timezone})"


def _deploy(local: Local, environment: dict[str, str]) -> Nightly | None:
    nightly = Nightly.read(local.nightly)
    file = local.folder / "prefect.yaml"
    project = yaml.safe_load(_DEPLOYMENTS.read_text(encoding="utf-8"))
    file.write_text(yaml.safe_dump(with_nightly(project, nightly), sort_keys=False))
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy"]
    command += ["--prefect-file", str(file), "--all"]
    done = subprocess.run(  # noqa: S603 - our own command
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-2000:]
        msg = f"`prefect deploy` failed: {said}"
        raise StateError(msg)
    return nightly
