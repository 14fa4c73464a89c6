from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import RowError, SourceError
from tasks.core.selection import GitOptions
from tasks.load.rows import read_input
from tasks.load.sources import read_source

DIFF = "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-a\n+b\n"


def found(root: Path, **options: Any) -> dict[str, Any]:
    rows = list(read_source(str(root), GitOptions(**options)))
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    return {row.snippet: row.row for row in rows}


def reasons(rows: dict[str, Any]) -> dict[str, str]:
    return {name: row.code for name, row in rows.items() if isinstance(row, RowError)}


def fill(root: Path, files: dict[str, str | bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def test_diffs_and_source_files_by_relative_path(tmp_path: Path) -> None:
    """Patches are diffs, everything else is a snippet; ids are paths with slashes."""
    fill(tmp_path, {"b/two.patch": DIFF, "a.py": "x = 1\n", "b/C.DIFF": DIFF, "b/c/d.c": "int x;"})
    items = [read_input(row) for row in found(tmp_path).values()]
    assert {item.input_id: (item.kind, item.path) for item in items} == {
        "a.py": ("snippet", "a.py"),
        "b/C.DIFF": ("diff", None),
        "b/two.patch": ("diff", None),
        "b/c/d.c": ("snippet", "b/c/d.c"),
    }
    assert [item.input_id for item in items] == ["a.py", "b/C.DIFF", "b/two.patch", "b/c/d.c"]


def test_what_is_not_taken_has_its_reason(tmp_path: Path) -> None:
    """Left out, too large, binary, links, pipes; an excluded folder is one row, not thousands."""
    fill(
        tmp_path,
        {
            "ok.py": "x = 1\n",
            "uv.lock": "a",
            "node_modules/a/b.js": "a",
            "node_modules/a/c.js": "a",
            "src/vendor/d.go": "a",
            "big.py": "x" * 2000,
            "logo.png": b"\x89PNG\0\0",
            "wide.ps1": "x = 1\n".encode("utf-16"),
            "old.py": b"# caf\xe9\n",
        },
    )
    (tmp_path / "link.py").symlink_to("ok.py")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe")
    rows = found(tmp_path, max_bytes=1000)
    assert reasons(rows) == {
        "uv.lock": "excluded",
        "node_modules": "excluded",
        "src/vendor": "excluded",
        "big.py": "too_large",
        "logo.png": "binary",
        "link.py": "symlink",
        "loop": "symlink",
        "pipe": "not_a_file",
    }
    assert rows["wide.ps1"]["content"] == "x = 1\n"
    assert rows["old.py"]["content"] == "# caf\ufffd\n"
    assert rows["old.py"]["bytes_replaced"] is True
    assert "'node_modules/'" in str(rows["node_modules"])


def test_include_chooses_files(tmp_path: Path) -> None:
    """The others are told, as everywhere."""
    fill(tmp_path, {"a.py": "x", "b.c": "x", "vendor/c.py": "x"})
    rows = found(tmp_path, include=("*.py",))
    assert reasons(rows) == {"b.c": "excluded", "vendor": "excluded"}


def test_hostile_names(tmp_path: Path) -> None:
    """Names with newlines or without any encoding give distinct ids on one line."""
    names = [b"a\nb.py", b"\xff.py", b"\xfe.py", "\N{SNAKE}.py".encode()]
    for name in names:
        path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - bytes
        Path(os.fsdecode(path)).write_bytes(b"x = 1\n")
    rows = list(read_source(str(tmp_path)))
    ids = {read_input(row.row).input_id for row in rows}
    assert ids == {"a\\nb.py", "\\xff.py", "\\xfe.py", "\N{SNAKE}.py"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_parts_cost_only_themselves(tmp_path: Path) -> None:
    """A file or folder without permission is a row with that reason."""
    fill(tmp_path, {"ok.py": "x", "shut.py": "x", "closed/a.py": "x"})
    (tmp_path / "shut.py").chmod(0)
    (tmp_path / "closed").chmod(0)
    try:
        rows = found(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert reasons(rows) == {"shut.py": "unreadable", "closed": "unreadable"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.jsonl", "does not exist"),
        ("a.txt", "no reader for this ending"),
        ("noending", "no reader for this ending"),
        ("a.parquet.gz", "no reader for this ending"),
        ("pipe.jsonl", "neither a file nor a folder"),
        ("\0.jsonl", "does not exist"),
        ("\ud800.jsonl", "does not exist"),
        ("a" * 5000 + ".jsonl", "cannot be read"),
        ("a.txt/b.jsonl", "does not exist"),
    ],
)
def test_sources_without_a_reader(tmp_path: Path, name: str, said: str) -> None:
    """One line that says what would be read."""
    fill(tmp_path, {"a.txt": "x", "noending": "x", "a.parquet.gz": "x"})
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(SourceError, match=said):
        list(read_source(f"{tmp_path}/{name}"))
