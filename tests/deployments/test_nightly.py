"""What a machine's nightly reviews: nothing until somebody says so, and then in a file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deployments.local import ROOT
from deployments.nightly import Nightly, absolute_source, with_nightly
from flows.cli.main import main
from tasks.core.errors import ConfigError
from tests.factories import STRICT

PROJECT = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())


def test_nothing_is_scheduled_until_a_source_is_named() -> None:
    """As the project ships it, no deployment has a schedule or a source: nobody's keys are spent."""
    for one in with_nightly(PROJECT, None)["deployments"]:
        assert not one.get("schedules")
        assert "source" not in one.get("parameters", {})


def test_deploy_writes_the_source_and_the_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paths are absolute in it, and it is what the deployment called nightly gets."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "review.toml").write_text(STRICT)
    (tmp_path / "rows.jsonl").write_text('{"input_id": "a", "content": "x"}\n')
    where = ["--cron", "0 2 * * 1-5", "--timezone", "Europe/Berlin", "--folder", "state"]

    assert main(["deploy", "rows.jsonl", *where]) == 0

    assert "nightly-review up" in capsys.readouterr().out
    project = with_nightly(PROJECT, Nightly.read(tmp_path / "state" / "nightly.yaml"))
    (nightly,) = (one for one in project["deployments"] if one["name"] == "nightly")
    assert nightly["parameters"] == {
        "source": str(tmp_path / "rows.jsonl"),
        "config": str(tmp_path / "review.toml"),
    }
    (schedule,) = nightly["schedules"]
    assert schedule == {
        "slug": "nightly",
        "cron": "0 2 * * 1-5",
        "timezone": "Europe/Berlin",
        "active": True,
    }


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl"),
        (["rows.jsonl", "--cron", "at night"], "--cron"),
        (["rows.jsonl", "--timezone", "Mars/Base"], "--timezone"),
        (["rows.jsonl", "--config", "none.toml"], "none.toml"),
    ],
)
def test_a_mistake_leaves_the_schedule_as_it_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: list[str],
    said: str,
) -> None:
    """Exit code 2, the mistake is named, and nothing was written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "review.toml").write_text(STRICT)
    (tmp_path / "rows.jsonl").write_text('{"input_id": "a", "content": "x"}\n')

    assert main(["deploy", *wrong, "--folder", "state"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "state" / "nightly.yaml").exists()


def test_a_repository_is_found_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is made absolute, what is wanted of it stays."""
    monkeypatch.chdir(tmp_path)

    assert absolute_source("git:.@since=last") == f"git:{tmp_path}@since=last"


def test_a_file_that_was_edited_wrongly_is_named(tmp_path: Path) -> None:
    """The message names it and the command that writes it anew."""
    file = tmp_path / "nightly.yaml"
    file.write_text("source: [\n")

    with pytest.raises(ConfigError, match=r"nightly.yaml.*nightly-review deploy SOURCE"):
        Nightly.read(file)
