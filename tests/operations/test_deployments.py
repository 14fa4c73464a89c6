"""The deployments' files: entry points, the form, schedules, server settings, automations."""

from __future__ import annotations

import inspect
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.flows import load_flow_from_entrypoint
from prefect.settings.legacy import _get_settings_fields
from prefect.settings.models.root import Settings
from prefect.utilities.callables import parameter_schema

from deployments.local import ROOT, read_env
from deployments.nightly import Nightly
from flows.cli.main import main
from tests.operations.stack import Operator

FILE = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())
REVIEW = "flows/bulk_review.py:bulk_review"
ENTRYPOINTS = sorted({one["entrypoint"] for one in FILE["deployments"]})


def _flow(entrypoint: str, monkeypatch: pytest.MonkeyPatch) -> Flow[..., Any]:
    monkeypatch.chdir(ROOT)
    return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_entry_points_load(entrypoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is the real flow: `prefect deploy` would hide an import error behind a placeholder."""
    flow = _flow(entrypoint, monkeypatch)

    assert flow.name in {"bulk-review", "evaluate"}
    assert not inspect.iscoroutinefunction(flow.fn)


def test_the_form_describes_every_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every parameter has a description; choices and bounds are in the schema that the UI shows."""
    schema = parameter_schema(_flow(REVIEW, monkeypatch).fn).model_dump()
    fields = schema["properties"]

    assert schema["required"] == ["source"]
    assert not [name for name, field in fields.items() if not field.get("description")]
    assert fields["source"]["minLength"] == 1
    assert fields["mode"]["enum"] == ["as_configured", "check_and_review", "check"]
    assert fields["limit"]["anyOf"][0] == {"minimum": 1, "type": "integer"}
    assert fields["fresh"]["type"] == "boolean"


@pytest.mark.parametrize("deployment", FILE["deployments"], ids=lambda one: one["name"])
def test_parameters_of_a_deployment_fit_the_form(
    deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What prefect.yaml presets is known to the flow, and none of it looks like a key."""
    known = parameter_schema(_flow(deployment["entrypoint"], monkeypatch).fn).properties

    assert deployment.get("parameters", {}).keys() <= known.keys()
    assert deployment["description"]


def test_server_settings_are_all_known_and_explained() -> None:
    """Prefect ignores a setting that it does not know, so a typing error would go unnoticed."""
    path = ROOT / "deployments" / "server.env"
    known = set(_get_settings_fields(Settings)) | {"DO_NOT_TRACK"}

    assert not set(read_env(path)) - known
    lines = path.read_text().splitlines()
    for above, line in pairwise(lines):
        assert not (line and not line.startswith("#")) or above.startswith("# "), line


def test_deployed_as_written(operator: Operator, deployed: Nightly) -> None:
    """Source, schedule, zone, limit, pool and the project root as working directory are on the server."""
    nightly = operator.client.read_deployment_by_name("bulk-review/nightly")
    adhoc = operator.client.read_deployment_by_name("bulk-review/adhoc")

    (schedule,) = nightly.schedules
    assert (
        schedule.schedule.model_dump(exclude_none=True).items()
        >= {
            "cron": "15 3 * * *",
            "timezone": "Europe/Berlin",
        }.items()
    )
    assert schedule.active
    assert nightly.parameters == {"source": deployed.source, "config": deployed.config}
    assert schedule.slug == "nightly"
    assert nightly.global_concurrency_limit is not None
    assert nightly.global_concurrency_limit.limit == 1
    assert nightly.concurrency_options is not None
    assert nightly.concurrency_options.collision_strategy == "CANCEL_NEW"
    assert adhoc.schedules == []
    for one in (nightly, adhoc):
        assert one.work_pool_name == "local"
        assert one.enforce_parameter_schema
        (step,) = one.pull_steps or []
        assert next(iter(step.values()))["directory"] == str(ROOT)


@pytest.mark.usefixtures("deployed")
def test_the_nightly_is_scheduled(operator: Operator) -> None:
    """The server has made the next nights' runs, at the time and place that `deploy` was given."""
    nightly = operator.client.read_deployment_by_name("bulk-review/nightly")
    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[nightly.id]))

    def nights() -> list[datetime]:
        runs = operator.client.read_flow_runs(deployment_filter=wanted)
        return [run.expected_start_time for run in runs if run.auto_scheduled]

    for night in operator.until(nights, "scheduled runs", 60):
        assert night.astimezone(ZoneInfo("Europe/Berlin")).strftime("%H:%M") == "03:15"


def test_up_twice_changes_nothing(operator: Operator) -> None:
    """The same server and worker go on, and there is still one automation for lost runs."""
    stack = operator.stack
    services = ("server", "reports", "worker")
    pids = [(stack.folder / f"{name}.pid").read_text() for name in services]
    pages_port = stack.reports.rpartition(":")[2]
    faster = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    said = stack.command(
        *("up", "--folder", str(stack.folder), "--port", str(stack.port)),
        *("--reports", str(stack.operators / "runs"), "--reports-port", pages_port),
        **faster,
    )

    assert said.count("runs already") == 3
    assert [(stack.folder / f"{name}.pid").read_text() for name in services] == pids
    (lost,) = operator.client.read_automations_by_name("lost-runs-are-crashed")
    assert lost.enabled


def test_example_automation_installs(operator: Operator) -> None:
    """It is accepted by the server and runs the adhoc deployment, found by its name."""
    example = ROOT / "deployments" / "automations" / "rerun_incomplete.yaml"
    said = operator.stack.command("automate", str(example))

    assert "rerun-incomplete-nights" in said
    (made,) = operator.client.read_automations_by_name("rerun-incomplete-nights")
    adhoc = operator.client.read_deployment_by_name("bulk-review/adhoc")
    assert [getattr(action, "deployment_id", None) for action in made.actions] == [adhoc.id]
    operator.client.delete_automation(made.id)


def test_files_that_are_no_automation_are_refused(
    operator: Operator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the file; the exit code is 2."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("name: x\ntrigger: {type: event}\nactions: $unknown_word\n")
    with operator.using():
        assert main(["automate", str(wrong)]) == 2

    assert str(wrong) in capsys.readouterr().err


def test_the_local_server_is_closed_to_others(operator: Operator) -> None:
    """No login: 401; another origin: refused; another host name: 400. The login is its owner's only."""
    stack = operator.stack
    asked = {"Origin": "http://127.0.0.3:9988", "Access-Control-Request-Method": "POST"}
    with httpx.Client(base_url=f"{stack.url}/api") as http:
        assert http.post("/block_documents/filter", json={}).status_code == 401
        preflight = http.options("/block_documents/filter", headers=asked)
        assert "access-control-allow-origin" not in preflight.headers
        assert http.get("/health", headers={"Host": "evil.example"}).status_code == 400

    assert (stack.folder / "login").stat().st_mode & 0o777 == 0o600
    password = stack.login.partition(":")[2]
    logs = [(stack.folder / f"{name}.log").read_text() for name in ("server", "worker")]
    assert password
    assert not [log for log in logs if password in log]
