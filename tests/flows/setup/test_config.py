"""Where a run writes, and what a command does before it imports Prefect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.setup.config import new_run_id, run_paths, with_run_id
from tasks.core.errors import ConfigError


def test_a_run_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named or not; {run_id} stands for the run's id in a folder and in a URL."""
    monkeypatch.chdir(tmp_path)

    assert run_paths(None, "r1").root == tmp_path / "data" / "runs" / "r1"
    assert run_paths("nights/{run_id}", "r1").root == tmp_path / "nights" / "r1"
    assert run_paths("s3://bucket/{run_id}/", "r1").place == "s3://bucket/r1"


def test_a_url_has_one_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a rerun, another one for the same name in another bucket."""
    monkeypatch.chdir(tmp_path)
    first, again = run_paths("s3://one/night", "r1"), run_paths("s3://one/night/", "r2")
    other = run_paths("s3://two/night", "r1")

    assert first == again
    assert first.root.parent == tmp_path / "data" / "runs"
    assert other.root != first.root


def test_a_password_is_not_repeated() -> None:
    """The message names the remedy, and the URL is not in it."""
    with pytest.raises(ConfigError, match="must not hold a password") as caught:
        run_paths("ftp://user:planted-password@host/night", "r1")

    assert "planted-password" not in str(caught.value)


def test_help_and_errors_do_not_wait_for_prefect(tmp_path: Path) -> None:
    """A missing review.toml is told before Prefect is imported."""
    code = (
        "import sys; from flows.cli.main import main; "
        "code = main(['run', 'inputs.jsonl', '--config', 'missing.toml']); "
        "sys.exit(99 if 'prefect' in sys.modules else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 2, done.stderr
    assert "missing.toml cannot be read" in done.stderr


def test_a_run_uses_the_id_that_its_folder_has() -> None:
    """Named before the run begins, it is the next run's id, and nobody's after that."""
    with with_run_id("r1"):
        assert new_run_id() == "r1"
    assert new_run_id() != "r1"


def test_two_runs_into_one_folder_have_work_folders_of_their_own(tmp_path: Path) -> None:
    """What a killed run's process still writes is never in the next run's folder."""
    first, second = (run_paths(str(tmp_path / "out"), name) for name in ("r1", "r2"))
    assert first.root == second.root
    assert first.shard(0).root != second.shard(0).root
    assert first.staged.root != second.staged.root
