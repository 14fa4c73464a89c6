"""Exports of a whole run: written whole, opened by their consumers."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import orjson
import pytest

from tasks.core.errors import OutputError
from tasks.core.paths import RunPaths
from tasks.finished.export import EXPORTS
from tasks.finished.export.files import export_run
from tasks.outputs.findings import read_findings
from tasks.review.findings.clusters import cluster
from tests.factories import comment, made_up, make_run, write_run


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 1,500 inputs: several row groups, inputs with and without findings."""
    paths, _ = make_run(tmp_path_factory.mktemp("exports") / "run", inputs=1500)
    return paths.root


def test_every_format_has_every_finding(finished_run: Path) -> None:
    """The number of findings is that of clusters with a kept or unverified comment."""
    outputs = {output.name: output for output in export_run(finished_run, tuple(EXPORTS))}
    query = "SELECT count(DISTINCT cluster_id) FROM read_parquet(?) WHERE outcome != 'dropped'"
    (expected,) = duckdb.execute(query, [str(finished_run / "comments.parquet")]).fetchall()[0]
    assert expected > 500
    sarif = orjson.loads((finished_run / "review.sarif").read_bytes())
    gitlab = orjson.loads((finished_run / "gl-code-quality.json").read_bytes())
    assert {output.rows for output in outputs.values()} == {expected}
    assert len(sarif["runs"][0]["results"]) == len(gitlab) == expected
    assert (finished_run / "review.rdjsonl").read_bytes().count(b"\n") == expected
    assert (finished_run / "review.md").read_text().count("\n### ") == expected
    assert all(
        output.bytes == (finished_run / name).stat().st_size for name, output in outputs.items()
    )


def test_sarif_tools_open_it(finished_run: Path) -> None:
    """A consumer that is not ours reads levels and rules as we meant them."""
    export_run(finished_run, ["sarif"])
    command = [
        str(Path(sys.executable).with_name("sarif")),
        "summary",
        str(finished_run / "review.sarif"),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    levels = [
        one["level"]
        for one in json.loads((finished_run / "review.sarif").read_text())["runs"][0]["results"]
    ]
    for level in ("error", "warning", "note"):
        assert f"{level}: {levels.count(level)}\n" in shown


def test_an_export_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    """Tables of different runs are refused, and the file of before is as it was."""
    paths, manifest = make_run(tmp_path / "run", inputs=30)
    export_run(paths.root, ["gitlab"], manifest)
    before = (paths.root / "gl-code-quality.json").read_bytes()
    other, _ = make_run(tmp_path / "other", inputs=8)
    other.table("reviews").replace(paths.table("reviews"))
    with pytest.raises(OutputError, match="of different runs"):
        export_run(paths.root, ["gitlab"], manifest)
    assert (paths.root / "gl-code-quality.json").read_bytes() == before
    assert not list(paths.root.glob("*.tmp"))


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    """The message names the file that cannot be read."""
    paths, _ = make_run(tmp_path / "run", inputs=5)
    paths.table("comments").write_bytes(b"not a table")
    with pytest.raises(OutputError, match=r"comments\.parquet cannot be read"):
        list(read_findings(paths))


def test_inputs_are_matched_with_their_own_comments(tmp_path: Path) -> None:
    """A comment without a path of its own gets that of its input, not that of a neighbour."""
    rng = random.Random(1)
    reviews = []
    for number in range(5):
        source, _, calls = made_up(rng, number)
        own = [comment(source.input_id, path=None)] if number in {1, 4} else []
        reviews.append((source, own, calls))
    paths, _ = write_run(tmp_path / "run", reviews)
    shown = {one.input_id: [row["path"] for row in one.shown] for one in read_findings(paths)}
    expected = {source.input_id: [source.path] if own else [] for source, own, _ in reviews}
    assert shown == expected


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    """Without a manifest there is no finished run to export."""
    with pytest.raises(OutputError, match="name the folder of a finished run"):
        export_run(RunPaths(tmp_path).root, ["sarif"])


def test_carried_findings_are_in_the_whole_state_only(tmp_path: Path) -> None:
    """SARIF is taken for the whole state of a source; the others tell of one run."""
    paths, manifest = make_run(tmp_path / "run", inputs=8)
    shown = [one for found in read_findings(paths) for one in found.shown]
    old = {**shown[0], "path": "src/old.py", "kind": "snippet"}
    paths.carried.write_bytes(orjson.dumps(old) + b"\n")
    counted = {one.rows for one in export_run(paths.root, tuple(EXPORTS), manifest)}
    assert counted == {len(shown)}
    assert b"src/old.py" in (paths.root / "review.sarif").read_bytes()
    assert all(
        b"src/old.py" not in (paths.root / export.file).read_bytes()
        for export in EXPORTS.values()
        if not export.carries
    )


def test_findings_of_several_repositories_say_of_which(tmp_path: Path) -> None:
    """Equal paths of two repositories stay apart in every format; in the tables they are as they were."""
    rng = random.Random(1)
    reviews = []
    for name in ("shop", "api"):
        source, _, calls = made_up(rng, 1)
        source = replace(source, input_id=f"{name}//src/app.py@1", path="src/app.py")
        found = cluster([comment(source.input_id, outcome="kept")])
        reviews.append((source, list(found), calls))
    paths, manifest = write_run(tmp_path / "run", reviews)
    paths.carried.write_bytes(
        b"".join(
            orjson.dumps({**row, "kind": "diff"}) + b"\n"
            for one in read_findings(paths)
            for row in one.shown
        )
    )
    export_run(paths.root, tuple(EXPORTS), manifest)
    for export in EXPORTS.values():
        text = (paths.root / export.file).read_text()
        assert "shop/src/app.py" in text, export.file
        assert "api/src/app.py" in text, export.file
    results = json.loads((paths.root / "review.sarif").read_text())["runs"][0]["results"]
    uris = [
        place["physicalLocation"]["artifactLocation"]["uri"]
        for one in results
        for place in one["locations"]
    ]
    assert sorted(uris) == ["api/src/app.py"] * 2 + ["shop/src/app.py"] * 2
    assert {row["path"] for one in read_findings(paths) for row in one.shown} == {"src/app.py"}
