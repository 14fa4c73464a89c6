from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.errors import OutputError, SourceError
from tasks.core.paths import RunPaths
from tasks.core.selection import GitOptions
from tasks.load.task import Loaded, load_source
from tasks.outputs.stored import stored_input

ROWS: st.SearchStrategy[list[Any]] = st.lists(
    st.dictionaries(
        st.sampled_from(["input_id", "content", "kind", "expected", "n"]),
        st.sampled_from(["a", "b", "\ud800", "\0", "", 1, 2**80, None, [], {}, float("nan")]),
    )
    | st.none()
    | st.text(max_size=3),
    max_size=12,
)


def run_paths(folder: Path) -> RunPaths:
    paths = RunPaths(folder / "run")
    paths.work.mkdir(parents=True, exist_ok=True)
    return paths


def load(folder: Path, data: bytes | str, name: str = "in.jsonl", **more: Any) -> Loaded:
    source = folder / name
    source.write_bytes(data.encode() if isinstance(data, str) else data)
    return load_source(
        str(source), run_paths(folder), more.get("limit"), more.get("max_input_tokens", 1000)
    )


def rejected(folder: Path) -> list[dict[str, Any]]:
    return [
        orjson.loads(line) for line in (folder / "run/rejected.jsonl").read_bytes().splitlines()
    ]


def accepted(folder: Path) -> list[str]:
    lines = (folder / "run/.work/inputs.jsonl").read_bytes().splitlines()
    return [stored_input(line).input_id for line in lines]


def test_every_row_is_accepted_or_rejected(tmp_path: Path) -> None:
    """With line number, reason, message and enough of the row to find it again."""
    data = "\n".join(
        [
            '{"input_id": "a", "content": "x = 1"}',
            '{"input_id": "a", "content": "y = 2"}',
            '{"content": "z"}',
            '{"content": "z"}',
            "not json",
            '{"input_id": "n", "content": "a\\u0000b"}',
            '{"input_id": "s", "content": "\\ud800"}',
            '{"code": "x"}',
            "7",
            json.dumps({"input_id": "long", "content": "word " * 5000}),
            json.dumps({"input_id": "huge", "content": "word " * 2_000_000}),
        ]
    )
    loaded = load(tmp_path, data)
    found = rejected(tmp_path)
    assert [(row["row"], row["reason"]) for row in found] == [
        (2, "duplicate_id"),
        (4, "duplicate_id"),
        (5, "broken_line"),
        (6, "content_not_text"),
        (7, "content_not_text"),
        (8, "no_content"),
        (9, "not_an_object"),
        (10, "too_long"),
        (11, "too_long"),
    ]
    assert (loaded.inputs, loaded.rejected) == (2, 9)
    assert loaded.reasons["too_long"] == 2
    assert found[0]["input_id"] == "a"
    assert [row["snippet"] for row in found[:3]] == ["y = 2", "z", "not json"]
    assert all(len(row.get("snippet", "")) <= 200 for row in found)
    assert all(row["message"] for row in found)
    assert accepted(tmp_path)[0] == "a"


@settings(max_examples=50)
@given(ROWS)
def test_no_row_is_lost(rows: list[Any]) -> None:
    """Whatever the rows are: accepted and rejected add up, and each rejected one is numbered."""
    data = "".join(json.dumps(row) + "\n" for row in rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            loaded = load(folder, '{"input_id": "first", "content": "x"}\n' + data)
        except SourceError:
            pytest.fail("the first row is usable")
        assert loaded.inputs + loaded.rejected == len(rows) + 1
        assert sum(loaded.reasons.values()) == loaded.rejected
        numbers = [row["row"] for row in rejected(folder)]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == loaded.rejected
        assert len(set(accepted(folder))) == loaded.inputs


@given(st.binary(max_size=120), st.sampled_from(["jsonl", "json", "csv", "parquet", "jsonl.gz"]))
def test_any_file_is_loaded_or_refused(data: bytes, ending: str) -> None:
    """A SourceError that names the file, or inputs; never another error."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            loaded = load(Path(folder), data, f"in.{ending}")
        except SourceError as error:
            message = str(error)
        else:
            assert loaded.inputs
            return
    assert f"in.{ending}" in message


def test_a_limit_reads_no_further(tmp_path: Path) -> None:
    """The first rows only, rejected ones among them."""
    loaded = load(tmp_path, '{"content": "x"}\nbroken\n{"content": "y"}\n', limit=2)
    assert (loaded.inputs, loaded.rejected) == (1, 1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "has no usable row: it is empty"),
        ("\n\n", "has no usable row: it is empty"),
        ("7\n8\n", "has no usable row; the first of 2: row 1: a row is an object"),
    ],
)
def test_a_source_without_a_usable_row_leaves_the_old_files(
    tmp_path: Path, data: str, said: str
) -> None:
    """Exit code 2 and nothing written over."""
    load(tmp_path, '{"content": "x"}\nbroken\n')
    before = (tmp_path / "run/rejected.jsonl").read_bytes()
    with pytest.raises(SourceError, match=said):
        load(tmp_path, data)
    assert (tmp_path / "run/rejected.jsonl").read_bytes() == before
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_source_that_breaks_midway_leaves_the_old_files(tmp_path: Path) -> None:
    """Half of a file must not pass for the whole."""
    load(tmp_path, '{"content": "x"}\nbroken\n')
    before = (tmp_path / "run/rejected.jsonl").read_bytes()
    with pytest.raises(SourceError, match="without a comma"):
        load(tmp_path, '[{"content": "a"}, {"content": "b"}', "in.json")
    assert (tmp_path / "run/rejected.jsonl").read_bytes() == before


def test_an_output_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    """The remedy is another one than for a bad source."""
    paths = RunPaths(tmp_path / "nowhere")
    (tmp_path / "in.jsonl").write_text('{"content": "x"}')
    with pytest.raises(OutputError):
        load_source(str(tmp_path / "in.jsonl"), paths, None, 1000)


def test_a_large_diff_is_not_too_long(tmp_path: Path) -> None:
    """It is split at its hunks later; a snippet has none."""
    diff = "--- a/x\n+++ b/x\n@@ -0,0 +1,5000 @@\n" + "+word word\n" * 5000
    rows = [{"input_id": "d", "content": diff}, {"input_id": "s", "content": "word " * 5000}]
    loaded = load(tmp_path, "\n".join(map(json.dumps, rows)))
    assert accepted(tmp_path) == ["d"]
    assert loaded.reasons == {"too_long": 1}


def test_a_repository_without_changes_is_an_empty_night(tmp_path: Path) -> None:
    """No inputs, no error; a folder or file without any is one."""
    root = tmp_path / "project"
    root.mkdir()
    who = {
        f"GIT_{role}_{what}": "a@test"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run(["git", *command], cwd=root, check=True, env=os.environ | who, timeout=60)
    paths = run_paths(tmp_path)
    assert load_source(f"git:{root}@HEAD..HEAD", paths, None, 1000) == Loaded(0, 0)
    assert paths.inputs.read_bytes() == paths.index.read_bytes() == b""
    (root / "yarn.lock").write_text("a")
    subprocess.run(["git", "add", "-A"], cwd=root, check=True, timeout=60)
    subprocess.run(
        ["git", "commit", "-q", "-m", "two"], cwd=root, check=True, env=os.environ | who, timeout=60
    )
    loaded = load_source(f"git:{root}@HEAD~1..HEAD", paths, None, 1000)
    assert loaded == Loaded(0, 1, {"excluded": 1})
    assert rejected(tmp_path)[0]["snippet"] == "yarn.lock"
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="it is empty"):
        load_source(str(tmp_path / "empty"), paths, None, 1000)


def test_options_reach_the_reader(tmp_path: Path) -> None:
    """What [git] says holds for a folder."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    (folder / "b.c").write_text("int x;\n")
    options = GitOptions(include=("*.py",))
    loaded = load_source(str(folder), run_paths(tmp_path), None, 1000, options)
    assert (loaded.inputs, loaded.reasons) == (1, {"excluded": 1})


def test_a_diff_is_shown_in_its_file(tmp_path: Path) -> None:
    """With context = "file" a row's `file` becomes the diff's surroundings, and its id stays as it was."""
    file = "".join(f"line {number}\n" for number in range(1, 40))
    diff = "--- a/x.py\n+++ b/x.py\n@@ -20 +20 @@\n-old\n+line 20\n"
    rows = [{"content": diff, "file": file}, {"content": file, "file": file}]
    data = "\n".join(json.dumps(row) for row in rows)
    found = {}
    for reach, most in (("hunk", 8000), ("file", 8000), ("file", 20)):
        folder = tmp_path / f"{reach}{most}"
        folder.mkdir()
        (folder / "in.jsonl").write_text(data)
        paths = run_paths(folder)
        options = GitOptions(reach=reach, reach_tokens=most)  # type: ignore[arg-type]
        load_source(str(folder / "in.jsonl"), paths, None, 1000, options)
        found[reach, most] = [json.loads(line) for line in paths.inputs.read_text().splitlines()]
    hunk, wide, narrow = (one[0] for one in found.values())
    assert hunk["input_id"] == wide["input_id"] == narrow["input_id"]
    assert (hunk["content"], narrow["content"]) == (diff, diff)
    assert wide["content"].endswith(" line 39\n")
    assert "@@ -1,39 +1,39 @@" in wide["content"]
    assert (hunk["extra"], wide["extra"]) == ({"file": file}, {})
    assert [one[1]["content"] for one in found.values()] == [file] * 3
