"""`prune` on folders of runs: what is old goes, what anybody may still need stays."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.cli.main import main
from tasks.core.files import hold_folder
from tasks.core.paths import RunPaths

Capture = pytest.CaptureFixture[str]


def ended(root: Path, name: str, days: float, **facts: Any) -> Path:
    """A run that started so many days ago; its tables are of no interest here."""
    paths = RunPaths(root / name)
    paths.root.mkdir(parents=True)
    started = datetime.now(UTC) - timedelta(days=days)
    manifest = {
        "run_id": name,
        "source": "diffs.jsonl",
        "source_key": "/reviews/diffs.jsonl",
        "started_at": started.isoformat(timespec="seconds"),
        "complete": True,
        "limit": None,
        "counts": {"coverage": {"complete": 3}},
        "outputs": {},
    }
    paths.manifest.write_text(json.dumps(manifest | facts))
    for one in (paths.table("reviews"), paths.lock, paths.root / "review.sarif"):
        one.write_bytes(b"x" * 1000)
    return paths.root


def names(root: Path) -> set[str]:
    return {one.name for one in root.iterdir()}


def test_old_runs_go_and_the_newest_of_each_source_stays(tmp_path: Path, capsys: Capture) -> None:
    """However old: it is what the next run of its source is compared with. Each one is told."""
    ended(tmp_path, "old", 90)
    ended(tmp_path, "older", 200)
    ended(tmp_path, "young", 5)
    ended(tmp_path, "other-old", 300, source_key="git:/repo@since")
    ended(tmp_path, "other-older", 400, source_key="git:/repo@since")

    assert main(["prune", "--keep", "60d", str(tmp_path)]) == 0
    assert names(tmp_path) == {"young", "other-old"}
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["removed", "kept", "removed", "removed", "3"]
    assert "other-old (the newest complete run of its source)" in said[1]


def test_an_incomplete_or_partial_run_does_not_push_the_complete_one_out(tmp_path: Path) -> None:
    """Nor does one that reviewed nothing: neither is a baseline in place of the complete one."""
    ended(tmp_path, "whole", 100)
    ended(tmp_path, "gaps", 90, complete=False)
    ended(tmp_path, "part", 80, limit=20)
    ended(tmp_path, "nothing", 70, counts={"coverage": {}})
    ended(tmp_path, "early-gaps", 110, complete=False)

    assert main(["prune", "--keep", "60d", str(tmp_path)]) == 0
    # gaps: the next run is compared with it; nothing: the newest complete one by name.
    assert names(tmp_path) == {"whole", "gaps", "nothing"}


def test_a_dry_run_removes_nothing(tmp_path: Path, capsys: Capture) -> None:
    """It says the same, and the sum of what would be free."""
    ended(tmp_path, "old", 90)
    ended(tmp_path, "young", 5)

    assert main(["prune", "--keep", "60d", "--dry-run", str(tmp_path)]) == 0
    assert names(tmp_path) == {"old", "young"}
    assert "1 runs older than 60d would be removed, 0.0 MB" in capsys.readouterr().out


def test_what_is_not_ours_stays(tmp_path: Path, capsys: Capture) -> None:
    """Other folders, links, files, damaged manifests, and a run with somebody's notes in it."""
    ended(tmp_path, "young", 1)
    kept = ended(tmp_path, "with-notes", 90)
    (kept / "notes.txt").write_text("look at src/app.py")
    elsewhere = ended(tmp_path / "apart", "linked", 90)
    (tmp_path / "link").symlink_to(elsewhere)
    (tmp_path / "photos").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "manifest.json").write_text('{"run_id": "x"}')
    before = names(tmp_path)

    assert main(["prune", "--keep", "1h", str(tmp_path)]) == 0
    assert names(tmp_path) == before
    assert elsewhere.exists()
    assert "has files that are not of a run: notes.txt" in capsys.readouterr().out


def test_a_folder_at_work_stays(tmp_path: Path, capsys: Capture) -> None:
    """Its lock is held: exit code 2 and the reason; free again, it goes."""
    ended(tmp_path, "young", 1)
    paths = RunPaths(ended(tmp_path, "old", 90))
    with hold_folder(paths.root, paths.lock):
        assert main(["prune", "--keep", "60d", str(tmp_path)]) == 2
    assert "old is being written by another run" in capsys.readouterr().err
    assert names(tmp_path) == {"old", "young"}
    assert main(["prune", "--keep", "60d", str(tmp_path)]) == 0
    assert names(tmp_path) == {"young"}


def test_what_a_killed_run_left_goes_too(tmp_path: Path) -> None:
    """It has a lock and a work folder and no manifest; one that has just changed stays."""
    for name in ("killed", "starting"):
        (tmp_path / name / ".work").mkdir(parents=True)
        (tmp_path / name / ".lock").touch()
    old = (datetime.now(UTC) - timedelta(days=90)).timestamp()
    for one in (*(tmp_path / "killed").iterdir(), tmp_path / "killed"):
        os.utime(one, (old, old))

    assert main(["prune", "--keep", "60d", str(tmp_path)]) == 0
    assert names(tmp_path) == {"starting"}


@pytest.mark.parametrize(
    ("keep", "folder", "said"),
    [
        ("sixty", ".", '--keep "sixty" is not a duration'),
        ("0d", ".", '--keep "0d" is not a duration'),
        ("9999999999d", ".", "longer than there are dates"),
        ("60d", "nowhere", "nowhere is no folder: name the one that has the runs"),
    ],
)
def test_mistakes_are_told(
    keep: str, folder: str, said: str, tmp_path: Path, capsys: Capture
) -> None:
    """Exit code 2 and the remedy; nothing is removed."""
    assert main(["prune", "--keep", keep, str(tmp_path / folder)]) == 2
    assert said in capsys.readouterr().err
