"""One evening of an operator: what is started here, the tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from deployments.nightly import Nightly
from deployments.sandbox import Sandbox, start_sandbox
from flows.ui.server_database import make_database
from tests import warm
from tests.conftest import kill_group
from tests.operations.inbox import Inbox, open_inbox
from tests.operations.stack import ALIASES, KEYS, Operator, Stack
from tests.runs import free_port

SLOW = 3.0
"""Seconds per call of the runs that are interrupted."""

_NOTIFY = """
[notify]
on = ["incomplete", "refused", "crashed", "late", "budget", "new_critical", "reviewer_changed"]
to = "custom-webhook/inbox"
"""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`nightly-review up` and, at the end, `down`."""
    port, reports = free_port(), free_port()
    made = Stack(tmp_path_factory.mktemp("stack") / "prefect", port, f"http://127.0.0.1:{reports}")
    # Prefect's migrations take five seconds of CPU and are not what is looked at here.
    make_database(made.folder / "prefect.db")
    arguments = ["--folder", str(made.folder), "--port", str(port), "--runs", "8"]
    arguments += ["--reports", str(made.operators / "runs"), "--reports-port", str(reports)]
    # The worker looks for work more often, and a lost run is found sooner, than an operator needs.
    faster = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    try:
        made.command("up", *arguments, **KEYS, **faster)
        yield made
    finally:
        made.command("down", "--folder", str(made.folder))


@pytest.fixture(scope="session")
def upstream() -> Iterator[Sandbox]:
    """A sandbox that knows only the planted keys, of which team-two's was revoked."""
    keys = {alias: {"key": KEYS[variable]} for alias, variable in ALIASES.items()}
    keys["team-two"]["state"] = "revoked"
    models = {f"model-{name}": {"latency": SLOW} for name in ("cancelled", "interrupted", "lost")}
    with start_sandbox(keys=keys, strict_keys=True, models=models) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def operator(stack: Stack, upstream: Sandbox) -> Iterator[Operator]:
    """An operator with a client of the stack's API."""
    with stack.using():
        client = get_client(sync_client=True)
    with client:
        yield Operator(stack, upstream, client, stack.operators)


@pytest.fixture(scope="session")
def inbox() -> Iterator[Inbox]:
    """A webhook that somebody reads."""
    with open_inbox() as opened:
        yield opened


@pytest.fixture(scope="session")
def deployed(operator: Operator, inbox: Inbox) -> Nightly:
    """`nightly-review deploy`, with a review.toml that wants to be told of everything."""
    with operator.using():
        block = CustomWebhookNotificationBlock(
            name="inbox", url=inbox.url, json_data={"subject": "{{subject}}", "body": "{{body}}"}
        )
        block.save("inbox")
    config = Path(operator.config("deployed"))
    config.write_text(f"{config.read_text()}\n{_NOTIFY}")
    operator.stack.command(
        *("deploy", operator.source("deployed", 1), "--config", str(config)),
        *("--cron", "15 3 * * *", "--timezone", "Europe/Berlin"),
        *("--folder", str(operator.stack.folder)),
    )
    made = Nightly.read(operator.stack.folder / "nightly.yaml")
    assert made is not None
    return made


@dataclass(frozen=True, slots=True)
class Evening:
    """Runs that were started side by side, by what is to become of them."""

    lost: FlowRun
    """Killed with all that belongs to it, without a worker that could tell."""
    nightly: FlowRun
    overlap: FlowRun
    """A second nightly while the first one ran."""
    gaps: FlowRun
    cancelled: FlowRun


@pytest.fixture(scope="session")
def evening(operator: Operator, deployed: Nightly) -> Evening:
    """Start everything; each test waits for its own run."""
    del deployed  # somebody is told of what happens
    command = warm.start_command(
        ["run", operator.source("lost", 120), "--config", operator.config("lost")],
        operator.folder,
        operator.stack.environment | KEYS | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"},
    )
    try:
        nightly = _nightly_from_the_shell(operator)
        adhoc = {
            "gaps": operator.start(
                "adhoc",
                "gaps",
                operator.source("gaps", 6, "content_policy", "content_policy", "status_429*2"),
                operator.config("gaps", "team-one", "team-two"),
            ),
            "cancelled": _slow(operator, "cancelled"),
        }
        overlap = operator.start(
            "nightly", "overlap", operator.source("nightly", 8), operator.config("nightly")
        )
        lost = operator.until(
            lambda: _heartbeat_of_a_run_without_deployment(operator), "a heartbeat"
        )
    finally:
        with command:
            kill_group(command)
    return Evening(lost=lost, nightly=nightly, overlap=overlap, **adhoc)


def _slow(operator: Operator, name: str) -> FlowRun:
    """A run that takes three minutes unless somebody interrupts it."""
    config = operator.config(name, threads=2)
    return operator.start("adhoc", name, operator.source(name, 120), config)


@pytest.fixture(scope="session")
def refused(operator: Operator, deployed: Nightly) -> FlowRun:
    """A run whose review.toml is not there."""
    del deployed
    return operator.start("adhoc", "refused", operator.source("refused", 1), "nowhere.toml")


@pytest.fixture(scope="session")
def interrupted(operator: Operator, deployed: Nightly) -> FlowRun:
    """A run of three minutes."""
    del deployed
    return _slow(operator, "interrupted")


def _nightly_from_the_shell(operator: Operator) -> FlowRun:
    parameters = {
        "source": operator.source("nightly", 8),
        "config": operator.config("nightly"),
        "output": str(operator.output("nightly")),
    }
    options = [
        text for name, value in parameters.items() for text in ("--param", f"{name}={value}")
    ]
    command = ["deployment", "run", "bulk-review/nightly", *options]
    said = operator.stack.command(*command, program="prefect")
    run_id = next(line.split()[-1] for line in said.splitlines() if "UUID" in line)
    return operator.client.read_flow_run(UUID(run_id))


def _heartbeat_of_a_run_without_deployment(operator: Operator) -> FlowRun | None:
    for event in operator.events("prefect.flow-run.heartbeat"):
        run_id = UUID(event["resource"]["prefect.resource.id"].rpartition(".")[2])
        run = operator.client.read_flow_run(run_id)
        if run.deployment_id is None and run.parent_task_run_id is None:
            return run
    return None
