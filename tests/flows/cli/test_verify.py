"""`verify` on folders that were tampered with, one defect at a time."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from flows.cli.main import main
from tasks.core.errors import OutputError
from tasks.core.files import hold_folder, sha256
from tasks.core.paths import RunPaths
from tasks.finished.verify import check_written
from tasks.outputs.schemas import SCHEMA_VERSION, Output
from tests.factories import CHECKS, make_run

FILES = ("reviews.parquet", "comments.parquet", "calls.parquet", "reviews.json")


def stamp(paths: RunPaths, manifest: dict[str, Any]) -> None:
    """Write a manifest that knows the files as they are now."""
    facts = {
        "settings": {"mode": "check_and_review", "check": [{"name": name} for name in CHECKS]},
        "schema_version": SCHEMA_VERSION,
        "outputs": {name: described(paths.root / name) for name in FILES},
    }
    paths.manifest.write_bytes(orjson.dumps(manifest | facts))


def described(path: Path) -> dict[str, Any]:
    table = path.suffix == ".parquet"
    rows = pq.read_metadata(path).num_rows if table else len(orjson.loads(path.read_bytes()))
    return {"rows": rows, "bytes": path.stat().st_size, "sha256": sha256(path)}


@pytest.fixture
def night(tmp_path: Path) -> tuple[RunPaths, dict[str, Any]]:
    """A finished run of 60 inputs."""
    paths, manifest = make_run(tmp_path / "run", inputs=60)
    stamp(paths, manifest)
    return paths, manifest


def test_a_whole_run_is_verified(
    night: tuple[RunPaths, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 for a run that was marked INCOMPLETE and is as it was left."""
    paths, manifest = night
    assert not manifest["complete"]
    assert main(["verify", str(paths.root)]) == 3
    told = capsys.readouterr().out
    assert re.search(r"^verified: 4 files, 60 inputs, checks and reviews: \d+ ok", told)


def test_a_complete_run_is_verified(tmp_path: Path) -> None:
    """Exit code 0 for a run in which no cell failed."""
    for seed in range(40):
        paths, manifest = make_run(tmp_path / str(seed), inputs=8, seed=seed)
        if manifest["complete"]:
            stamp(paths, manifest)
            assert main(["verify", str(paths.root)]) == 0
            return
    pytest.fail("no seed made a complete night")


def rewrite(paths: RunPaths, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    path = paths.root / f"{name}.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def lose_a_call(paths: RunPaths) -> None:
    rewrite(paths, "calls", lambda table: table.slice(1))


def lose_an_input(paths: RunPaths) -> None:
    rewrite(paths, "reviews", lambda table: table.slice(1))


def double_an_input(paths: RunPaths) -> None:
    rewrite(paths, "reviews", lambda table: pa.concat_tables([table, table.slice(0, 1)]))


def lose_a_json_entry(paths: RunPaths) -> None:
    lines = paths.reviews_json.read_bytes().splitlines(keepends=True)
    paths.reviews_json.write_bytes(b"".join([lines[0], *lines[2:]]))


def hide_a_failure(paths: RunPaths) -> None:
    def all_ok(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index("status")
        ok = pa.array(["ok"] * len(table), pa.string())
        return table.set_column(at, "status", ok)

    rewrite(paths, "calls", all_ok)


def change_an_outcome(paths: RunPaths) -> None:
    def kept(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index("outcome")
        return table.set_column(at, "outcome", pa.array(["kept"] * len(table), pa.string()))

    rewrite(paths, "comments", kept)


def change_a_type(paths: RunPaths) -> None:
    def wide(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index("attempts")
        return table.set_column(at, "attempts", pc.cast(table["attempts"], pa.float64()))

    rewrite(paths, "calls", wide)


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (lose_a_call, "cells.ok: the manifest says"),
        (lose_an_input, "reviews.parquet lacks an input of calls.parquet:"),
        (double_an_input, "reviews.parquet has input 'input-00000' more than once"),
        (lose_a_json_entry, "reviews.json lacks input"),
        (hide_a_failure, "cells.failed: the manifest says"),
        (change_an_outcome, "comments.kept: the manifest says"),
        (change_a_type, "calls.parquet: column attempts is not of the schema"),
    ],
)
def test_tampering_that_fixed_the_checksums_is_found(
    night: tuple[RunPaths, dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    tamper: Callable[[RunPaths], None],
    said: str,
) -> None:
    """Counts are made anew from the tables, so a fitting checksum does not hide a missing cell."""
    paths, manifest = night
    tamper(paths)
    stamp(paths, manifest)
    assert main(["verify", str(paths.root)]) == 2
    assert said in capsys.readouterr().err


def test_a_changed_file_is_found(
    night: tuple[RunPaths, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """One flipped byte, a file cut short and a missing one each get a line of their own."""
    paths, _ = night
    data = bytearray(paths.reviews_json.read_bytes())
    data[len(data) // 2] ^= 1
    paths.reviews_json.write_bytes(data)
    calls = paths.table("calls")
    calls.write_bytes(calls.read_bytes()[:-100])
    paths.table("comments").unlink()
    assert main(["verify", str(paths.root)]) == 2
    said = capsys.readouterr().err
    assert "reviews.json was changed after the run" in said
    assert "calls.parquet has" in said
    assert "comments.parquet is missing" in said


def test_a_folder_without_a_manifest_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and the remedy."""
    assert main(["verify", str(tmp_path)]) == 2
    assert "name a finished run" in capsys.readouterr().err


def test_what_was_written_is_read_back(night: tuple[RunPaths, dict[str, Any]]) -> None:
    """The check right after writing knows a table with a row too few."""
    paths, _ = night
    good = [Output(name, described(paths.root / name)["rows"], 0, "") for name in FILES]
    check_written(paths, good)
    lose_a_call(paths)
    with pytest.raises(OutputError, match=r"calls\.parquet was not written as meant"):
        check_written(paths, good)


def test_exports_and_evaluation_are_known(
    night: tuple[RunPaths, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Made by us they verify; of another run or changed they are named; removed is no fault."""
    paths, manifest = night
    stamp(paths, manifest | {"derived": {}})
    assert main(["export", str(paths.root), "--export", "markdown,rdjsonl"]) == 0
    assert main(["verify", str(paths.root)]) == 3

    (paths.root / "evaluation.json").write_text("{}")
    with (paths.root / "review.md").open("a") as file:
        file.write("one more")
    (paths.root / "review.rdjsonl").unlink()
    capsys.readouterr()
    assert main(["verify", str(paths.root)]) == 2
    assert capsys.readouterr().err.splitlines()[:-1] == [
        "error: evaluation.json is not of this run: remove it, or make it anew",
        "error: review.md was changed after it was made: its checksum differs; make it anew",
    ]


def test_exports_of_an_older_version_are_not_judged(night: tuple[RunPaths, dict[str, Any]]) -> None:
    """Its manifest records none: an export that is there is no fault."""
    paths, _ = night
    (paths.root / "review.md").write_text("# Review")
    assert main(["verify", str(paths.root)]) == 3


def test_export_waits_for_no_run(
    night: tuple[RunPaths, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that a run writes to is refused: its manifest must not be written over."""
    paths, _ = night
    with hold_folder(paths.root, paths.lock):
        assert main(["export", str(paths.root)]) == 2
    assert "is being written by another run" in capsys.readouterr().err
