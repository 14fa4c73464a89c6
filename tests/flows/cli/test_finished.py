"""Commands that read a finished run, on one that a URL names; its driver is that of local files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli.main import main
from tasks.core.files import read_json
from tasks.core.paths import RunPaths
from tasks.outputs.schemas import SCHEMA_VERSION
from tasks.report.task import write_report
from tests.factories import CHECKS, STRICT, make_run

QUOTA = {
    "kept": True, "sends": 0, "rate_limited": 0, "span_s": 0.0, "optimum_s": 0.0, "app_ids": [],
}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "app_ids": {},
    "policy": {},
    "suppressions": None,
    "mode": "check_and_review",
    "check": [{"name": name} for name in CHECKS],
}


@pytest.fixture
def there(tmp_path: Path) -> RunPaths:
    """A finished run with a file of rejected rows."""
    paths, facts = make_run(
        tmp_path / "there",
        60,
        settings=SETTINGS,
        history=None,
        prompt_version="p",
        schema_version=SCHEMA_VERSION,
    )
    write_report(paths, facts, [], QUOTA)
    paths.rejected.write_text('{"row": 1, "reason": "bad_row"}\n')
    # Lists the outputs in the manifest.
    assert main(["repolicy", str(paths.root)]) == 0
    return paths


def url(paths: RunPaths) -> str:
    return f"file://{paths.root}"


def files(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.name[0] != "."}


def test_exports_are_written_beside_the_outputs_at_the_url(
    there: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same bytes as in a folder, told under the URL; only the manifest records them."""
    before = files(there.root)
    capsys.readouterr()
    assert main(["export", f"{url(there)}/", "--export", "sarif,gitlab"]) == 0
    said = capsys.readouterr().out
    remote = files(there.root)
    assert remote.keys() - before.keys() == {"review.sarif", "gl-code-quality.json"}
    assert {name for name in before if before[name] != remote[name]} == {"manifest.json"}
    recorded = json.loads(remote["manifest.json"])["derived"]
    assert set(recorded) == {"review.sarif", "gl-code-quality.json"}
    assert f"{url(there)}/review.sarif" in said

    assert main(["export", str(there.root), "--export", "sarif,gitlab"]) == 0
    assert files(there.root) == remote


def test_a_run_at_a_url_is_decided_anew_there(
    there: RunPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outcomes, manifest and exports are as they would be in a folder, and it still verifies."""
    assert main(["export", str(there.root), "--export", "sarif"]) == 0
    (there.root / "evaluation.md").write_text("of other outcomes")
    before = files(there.root)
    config = tmp_path / "strict.toml"
    config.write_text(STRICT)
    local = tmp_path / "local"
    command = ["repolicy", url(there), "--config", str(config)]
    assert main([*command, "--output", str(local)]) == 0
    assert files(there.root) == before

    assert main(command) == 0
    said = capsys.readouterr().out
    after = files(there.root)
    assert said.endswith(f"{url(there)}/report.md\n")
    assert after.keys() == before.keys() - {"evaluation.md"} == files(local).keys()
    for name in ("comments.parquet", "reviews.json", "review.sarif", "rejected.jsonl"):
        assert after[name] == files(local)[name], name
    assert after["review.sarif"] != before["review.sarif"]
    assert main(["verify", url(there)]) == main(["verify", str(there.root)]) != 2


def test_a_command_that_fails_leaves_the_url_as_it_was(
    there: RunPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong marks, no labels, a URL as --output: exit code 2, told with the URL, nothing written."""
    before = files(there.root)
    missing = str(tmp_path / "missing.jsonl")
    assert main(["repolicy", url(there), "--suppressions", missing]) == 2
    assert main(["repolicy", url(there), "--output", "s3://bucket/strict"]) == 2
    assert "name a folder" in capsys.readouterr().err
    assert main(["evaluate", url(there)]) == 2
    assert f"{url(there)} has no labelled input" in capsys.readouterr().err
    assert files(there.root) == before
    assert not (tmp_path / "s3:").exists()


@pytest.mark.parametrize("command", ["verify", "export", "repolicy", "evaluate"])
def test_a_url_without_a_run_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and the remedy, whichever command it is."""
    (tmp_path / "empty").mkdir()
    assert main([command, f"file://{tmp_path}/empty"]) == 2
    assert "has no manifest.json: name a finished run" in capsys.readouterr().err
    assert main([command, "nowhere://bucket/night"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_a_url_that_cannot_be_written_is_told(
    there: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    """Something else is where the export should go: exit code 2 with the URL."""
    (there.root / "review.sarif").mkdir()
    (there.root / "review.sarif" / "x").write_text("")
    assert main(["export", url(there), "--export", "sarif"]) == 2
    assert f"error: {url(there)} cannot be written" in capsys.readouterr().err
    assert read_json(there.manifest) is not None


def test_the_old_way_to_verify_goes_on(there: RunPaths, capsys: pytest.CaptureFixture[str]) -> None:
    """`run --verify DIR` without a SOURCE, as scripts type it behind `python -m flows.bulk_review`."""
    new = main(["verify", str(there.root)])
    shown = capsys.readouterr()
    assert main(["run", "--verify", str(there.root)]) == new != 2
    assert capsys.readouterr() == shown
