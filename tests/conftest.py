"""Fixtures for all tests."""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import (
    ExitStack,
    chdir,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import PIPE, Popen
from typing import NamedTuple

import pytest
from execnet import XSpec
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from deployments.sandbox import Sandbox, start_sandbox
from flows.cli.main import main
from flows.ui.server import prefect_server as embedded_server
from tasks.core.records import Comment, Verdict
from tests import warm
from tests.forking import forking
from tests.postgres import Postgres, start_postgres

# How long a machine takes to make inputs says how busy it is, and nothing of the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

_FIRST = ("operations", "end_to_end", "deliver", "flows", "upstream")
"""Folders by how long their tests wait, so that none of the long ones is begun last."""


class _Places(LoadScopeScheduling):
    """How `make test` divides the tests over its processes.

    A whole run goes wherever there is room; other files stay together, and so does the operator's
    evening, which has several.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        if path.startswith("tests/operations/") and "/workers/" not in path:
            return "operations"
        return nodeid if path.startswith("tests/end_to_end/") else path

    def remove_node(self, node: WorkerController) -> str | None:
        """As in xdist, which has a test that ended its process begun again and again: here it is over."""
        for tests in self.assigned_work[node].values():
            for name in [name for name, over in tests.items() if not over]:
                tests[name] = True
                super().remove_node(node)
                return name
        return super().remove_node(node)

    def _reschedule(self, node: WorkerController) -> None:
        """As in xdist, which lets two tests wait behind one that takes minutes: here it is one."""
        waiting = self.workqueue and self._pending_of(self.assigned_work[node]) > 1
        if node.shutting_down or not waiting:
            super()._reschedule(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Places:
    """For --dist load; see `_Places`."""
    return _Places(config, log)


_FORKED = pytest.StashKey[list[str]]()
"""The command that a worker starts what it forks commands of with."""


def pytest_xdist_setupnodes(config: pytest.Config, specs: Sequence[XSpec]) -> None:
    """The workers are forked of one process, and what they fork commands of, see tests/warm.py, of another."""
    stack = ExitStack()
    config.add_cleanup(stack.close)
    worker = stack.enter_context(forking("tests.worker_server", *config.args))
    config.stash[_FORKED] = stack.enter_context(forking("tests.warm"))
    for spec in specs:
        spec.python = shlex.join(worker)


def pytest_configure_node(node: WorkerController) -> None:
    """Tell a worker of the second one."""
    node.workerinput["interpreter"] = node.config.stash[_FORKED]


def pytest_configure(config: pytest.Config) -> None:
    """As told."""
    if told := getattr(config, "workerinput", None):
        warm.interpreter[:] = told["interpreter"]


_EVENING = ("test_runs", "test_deployments", "test_notifications", "test_browser", "test_lost_runs")
"""The operator's runs are started and interrupted before a browser looks at them; missed heartbeats are
waited for longest, and at the end all is stopped, which would cost CPU while other tests run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, and the operator's in their order."""
    folders = {name: at for at, name in enumerate(_FIRST)}
    files = {name: at for at, name in enumerate(_EVENING)}
    items.sort(
        key=lambda item: (
            folders.get(_folder(item), len(folders)),
            item.path.stem == "test_down",
            files.get(item.path.stem, len(files)),
        )
    )


def _folder(item: pytest.Item) -> str:
    return "".join(item.path.relative_to(Path(__file__).parent).parts[:-1][:1])


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Sandbox]:
    """One real sandbox process for the whole session."""
    with start_sandbox() as server:
        yield server


@pytest.fixture
def sandbox(sandbox_server: Sandbox) -> Sandbox:
    """The session's sandbox, back at its defaults: any key, no quota, no faults, no latency."""
    sandbox_server.reset()
    return sandbox_server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One real PostgreSQL for the whole session."""
    with start_postgres() as server:
        yield server


@pytest.fixture
def database(postgres_server: Postgres) -> str:
    """The URL of an empty database, as in `state`."""
    return postgres_server.database()


@dataclass(frozen=True, slots=True)
class PrefectServer:
    """A real Prefect server with a home of its own."""

    url: str
    home: Path
    login: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {
            "PREFECT_API_URL": self.url,
            "PREFECT_API_AUTH_STRING": self.login,
            "PREFECT_HOME": str(self.home),
        }


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """One real Prefect server for the whole session, on a database of its own."""
    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("PREFECT_HOME", str(home))
        patch.delenv("PREFECT_API_URL", raising=False)
        url = stack.enter_context(embedded_server())
        yield PrefectServer(url, home, os.environ["PREFECT_API_AUTH_STRING"])


Process = Popen[str] | warm.Command
"""A command that was started."""

_COMMAND = (sys.executable, "-m", "flows.bulk_review")


@dataclass(frozen=True, slots=True)
class Job:
    """One bulk review as a user starts it: a folder with its review.toml, and the command line."""

    folder: Path
    environment: dict[str, str]
    started: list[Process] = field(default_factory=list, compare=False)
    """Ended with the test, so that one that fails leaves nothing to the next."""

    def using(self, environment: Mapping[str, str]) -> Job:
        """The same job with more environment."""
        return replace(self, environment=self.environment | dict(environment))

    @property
    def output(self) -> Path:
        """Where the run writes."""
        return self.folder / "out"

    def _arguments(self, source: Path | str, output: Path | None, more: Sequence[str]) -> list[str]:
        written = str(output or self.output)
        return [str(source), "--config", "review.toml", "--output", written, *more]

    def start(
        self,
        source: Path | str,
        *arguments: str,
        output: Path | None = None,
        under: Sequence[str] = (),
        mount: str = "",
        in_background: bool = False,
    ) -> Process:
        """Start the command in a session of its own; `under` is a command that runs it.

        Forked from a process that has imported it, see tests/warm.py, unless it runs under another.
        """
        wanted = self._arguments(source, output, arguments)
        environment = os.environ | self.environment
        process: Process
        if under:
            process = self._start_interpreter([*under, *_COMMAND, *wanted], environment)
        else:
            process = warm.start_command(
                ["run", *wanted], self.folder, environment, mount=mount, in_background=in_background
            )
        self.started.append(process)
        return process

    def _start_interpreter(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> Popen[str]:
        return Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=PIPE,
            stderr=PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, source: Path | str, *arguments: str, output: Path | None = None) -> Finished:
        """Run the command to its end in this process; its shards have processes of their own.

        A process of its own would import Prefect, and its fork server would as well, which is four
        fifths of the CPU of a small run: `command` is for what depends on one.
        """
        out, err = io.StringIO(), io.StringIO()
        with _as_in(self.folder, self.environment), redirect_stdout(out), redirect_stderr(err):
            code = main(["run", *self._arguments(source, output, arguments)])
        return Finished(code, out.getvalue(), err.getvalue())

    def command(
        self,
        source: Path | str,
        *arguments: str,
        output: Path | None = None,
        mount: str = "",
    ) -> Finished:
        """Run the command to its end in a process of its own, as a shell does."""
        process = self.start(source, *arguments, output=output, mount=mount)
        try:
            said, complained = process.communicate(timeout=240)
        finally:
            kill_group(process)
        return Finished(process.returncode, said, complained)


@contextmanager
def _as_in(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Work in a folder, with more environment; what the block itself exports ends with it."""
    earlier = dict(os.environ)
    os.environ.update(environment)
    try:
        with chdir(folder):
            yield
    finally:
        os.environ.clear()
        os.environ.update(earlier)


class Finished(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


def kill_group(process: Process) -> None:
    """End a process and all that it started; those that are gone are fine."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.send_signal(signal.SIGKILL)  # one that has just been forked leads no group yet
    process.wait(60)


# A shell ignores Ctrl-C for what it puts into the background, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

KEYS = {"KEY_A": "planted-key-alpha-7d1f", "KEY_B": "planted-key-bravo-93ce"}
"""Planted keys: distinctive, so that a leak is found by its text."""


@pytest.fixture
def make_job(tmp_path: Path, prefect_server: PrefectServer) -> Iterator[Callable[..., Job]]:
    """Write a review.toml from its text and get the job that uses it."""
    _forget_limits()
    warm.warm_up()
    started: list[Process] = []

    def make(config: str) -> Job:
        folder = tmp_path / "job"
        folder.mkdir(exist_ok=True)
        (folder / "review.toml").write_text(config)
        return Job(folder, prefect_server.environment | KEYS, started)

    yield make
    for process in started:
        with process:  # closes its pipes
            kill_group(process)


def _forget_limits() -> None:
    """A number on the server wins over review.toml, so a test must not inherit an earlier one's."""
    # Prefect takes two seconds to import, which most tests and xdist's own process do without.
    from prefect.client.orchestration import get_client  # noqa: PLC0415

    with get_client(sync_client=True) as client:
        for limit in client.read_global_concurrency_limits(limit=200):
            client.delete_global_concurrency_limit_by_name(limit.name)


MakeComment = Callable[..., Comment]
MakeVerdict = Callable[..., Verdict]

_COMMENT = Comment(
    comment_id="c1",
    fingerprint="f1",
    check_model="a",
    path="f.py",
    side="right",
    start_line=10,
    end_line=10,
    loc_method="exact",
    category="bug",
    severity="medium",
    confidence=None,
    title="Off by one",
    message="The loop stops one short.",
    rationale=None,
    existing_code="for i in range(n - 1):",
    suggestion=None,
)
_VERDICT = Verdict(review_model="r", status="ok", decision="confirmed", score=7)


@pytest.fixture(scope="session")
def comment() -> MakeComment:
    """A complete comment, with any fields changed by name."""
    return lambda **changes: replace(_COMMENT, **changes)


@pytest.fixture(scope="session")
def verdict() -> MakeVerdict:
    """A confirming verdict, with any fields changed by name."""
    return lambda **changes: replace(_VERDICT, **changes)
