"""Nothing is written over that is not of a run of the same source."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from flows.cli.main import main
from tasks.core.errors import OutputError
from tasks.core.paths import RunPaths
from tasks.outputs.occupied import check_unoccupied
from tests.factories import STRICT

KEY = "/reviews/diffs.jsonl"


@pytest.fixture(params=["folder", "url"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[RunPaths, Path]:
    """Where a run writes, and the folder in which its outputs end: a local one, or what a URL names."""
    there = tmp_path / "out"
    there.mkdir()
    if request.param == "folder":
        return RunPaths(there), there
    return RunPaths(tmp_path / "data", f"file://{there}"), there


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"manifest.json": {"outputs": {}, "source_key": KEY}, "notes.txt": "mine"},
        {"manifest.json": {"outputs": {}}},
        {".lock": "", ".work": "", ".range.json": "", ".fresh.json": ""},
        {".lock": "", "reviews.parquet": "", "review.sarif": "", "reviews.json.77.tmp": ""},
    ],
    ids=["empty", "same source", "before source_key", "killed", "killed while publishing"],
)
def test_what_a_run_may_write_over(files: dict[str, object], place: tuple[RunPaths, Path]) -> None:
    """An empty place, an earlier run of the source, and what a killed one left."""
    paths, there = place
    for name, content in files.items():
        (there / name).write_text(json.dumps(content))
    check_unoccupied(paths, KEY)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"thesis.tex": ""}, "is not empty and has no run of ours (thesis.tex): choose another"),
        ({".lock": "", "reviews.json": "", "thesis.tex": ""}, "(thesis.tex)"),
        ({"manifest.json": {"name": "a web app"}}, "(manifest.json)"),
        ({"manifest.json": {"outputs": {}, "source_key": "/b"}}, "a run of another source, /b: "),
    ],
    ids=["a thesis", "beside a killed run", "another's manifest", "another source"],
)
def test_what_it_may_not(files: dict[str, object], said: str, place: tuple[RunPaths, Path]) -> None:
    """Refused with what is there, and both remedies."""
    paths, there = place
    for name, content in files.items():
        (there / name).write_text(json.dumps(content))
    with pytest.raises(OutputError) as caught:
        check_unoccupied(paths, KEY)
    assert said in str(caught.value)
    assert "with --overwrite" in str(caught.value)


def test_outputs_without_a_mark_of_ours_are_not_ours(tmp_path: Path) -> None:
    """A folder with a review.md of somebody's own has no lock."""
    (tmp_path / "review.md").write_text("# Mine")
    with pytest.raises(OutputError, match=r"no run of ours \(review.md\)"):
        check_unoccupied(RunPaths(tmp_path), KEY)


def test_run_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 at once; the folder is as it was, without even a lock."""
    (tmp_path / "review.toml").write_text(STRICT)
    (tmp_path / "diffs.jsonl").write_text('{"input_id": "a", "content": "x = 1"}')
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "flows.ui.server", None)  # importing it would raise

    assert main(["run", "diffs.jsonl", "--output", "out"]) == 2
    assert "out is not empty and has no run of ours (thesis.tex)" in capsys.readouterr().err
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_repolicy_has_the_same_care(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Into another folder it names the one remedy that it has."""
    (tmp_path / "night").mkdir()
    manifest = {"outputs": {}, "source": "a", "source_key": KEY, "settings": {}}
    settings = {"policy": {}, "suppressions": None}
    (tmp_path / "night" / "manifest.json").write_text(json.dumps(manifest | {"settings": settings}))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")

    code = main(["repolicy", str(tmp_path / "night"), "--output", str(tmp_path / "out")])
    assert code == 2
    said = capsys.readouterr().err
    assert "no run of ours (thesis.tex): choose another --output" in said
    assert "--overwrite" not in said
