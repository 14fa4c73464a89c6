from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import RowError
from tasks.core.selection import DEFAULT_EXCLUDE, GitOptions
from tasks.load.rows import read_input
from tasks.load.sources import read_source
from tasks.review.inputs.diffs import parse_diff
from tasks.review.inputs.render import render_input
from tasks.review.prompts import check_messages

CODE = "".join(f"line {number}\n" for number in range(60))


def found(repository: Any, wanted: str, **options: Any) -> dict[str, Any]:
    """By path: the row, or the reason it was not taken for."""
    rows = list(read_source(f"git:{repository.root}@{wanted}", GitOptions(**options)))
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    return {row.snippet: row.row.code if isinstance(row.row, RowError) else row.row for row in rows}


def test_one_input_per_file_over_the_whole_range(repository: Any) -> None:
    """Two commits to one file are one net diff; a change that was taken back is none."""
    base = repository.commit({"a.py": CODE, "b.py": CODE, "c.py": CODE})
    repository.commit({"a.py": CODE.replace("line 5\n", "five\n"), "c.py": "gone\n"})
    head = repository.commit({"a.py": CODE.replace("line 5\n", "FIVE\n"), "c.py": CODE})
    rows = found(repository, f"{base}..HEAD")
    assert list(rows) == ["a.py"]
    row = rows["a.py"]
    assert "-line 5\n+FIVE\n" in row["content"]
    assert "five" not in row["content"]
    assert (row["repo"], row["base_commit"], row["head_commit"]) == ("project", base, head)
    item = read_input(row)
    assert (item.kind, item.path) == ("diff", "a.py")
    assert item.input_id.startswith("a.py@")
    assert item.extra["change"] == "modified"


def test_context_is_as_asked(repository: Any) -> None:
    """Ten unchanged lines on each side by default."""
    base = repository.commit({"a.py": CODE})
    repository.commit({"a.py": CODE.replace("line 30\n", "thirty\n")})
    assert "@@ -21,21 +21,21 @@" in found(repository, f"{base}..")["a.py"]["content"]
    assert "@@ -31 +31 @@" in found(repository, f"{base}..", context=0)["a.py"]["content"]


def test_each_kind_of_change_is_taken_or_has_its_reason(repository: Any) -> None:
    """Nothing that git lists is missing."""
    repository.write("link", "")
    repository.commit(
        {"gone.py": "only here\n", "old.py": CODE, "moved.py": CODE + "x\n", "mode.sh": "echo\n"}
    )
    for name in ("gone.py", "link"):
        (repository.root / name).unlink()
    (repository.root / "old.py").rename(repository.root / "new.py")
    (repository.root / "moved.py").rename(repository.root / "there.py")
    (repository.root / "mode.sh").chmod(0o755)
    (repository.root / "link").symlink_to("new.py")
    repository.write("picture.png", b"\x89PNG\0\0")
    repository.commit(
        {
            "there.py": CODE.replace("line 7\n", "seven\n") + "x\n",
            "added.py": "x = 1\n",
            "empty.py": "",
            "big.py": "y = 2\n" * 2000,
            "yarn.lock": "a\n",
            "web/node_modules/a/index.js": "a\n",
            "app.min.js": "a\n",
            "vendor/lib.go": "a\n",
        }
    )
    rows = found(repository, "HEAD~1..HEAD", max_bytes=5000)
    taken = {name: row["change"] for name, row in rows.items() if isinstance(row, dict)}
    assert taken == {"there.py": "renamed", "added.py": "added"}
    assert rows["there.py"]["old_path"] == "moved.py"
    assert parse_diff(rows["there.py"]["content"])[0].path == "there.py"
    assert {name: row for name, row in rows.items() if isinstance(row, str)} == {
        "gone.py": "deleted",
        "link": "symlink",
        "new.py": "no_text_change",
        "mode.sh": "no_text_change",
        "empty.py": "no_text_change",
        "picture.png": "binary",
        "big.py": "too_large",
        "yarn.lock": "excluded",
        "web/node_modules/a/index.js": "excluded",
        "app.min.js": "excluded",
        "vendor/lib.go": "excluded",
    }


def test_a_submodule_is_left_to_its_own_repository(repository: Any) -> None:
    """Its commit id is no code."""
    repository.commit({"a.py": CODE})
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    repository.git("commit", "-q", "-m", "module")
    assert found(repository, "HEAD~1..HEAD") == {"module": "submodule"}


def test_a_link_that_becomes_a_file_is_reviewed(repository: Any) -> None:
    """Git tells it as a deletion and an addition; the rows after it stay in step."""
    (repository.root / "a").symlink_to("nowhere")
    repository.commit({"b.py": "old\n"})
    (repository.root / "a").unlink()
    repository.commit({"a": "x = 1\n", "b.py": "new\n"})
    rows = found(repository, "HEAD~1..HEAD")
    assert "+x = 1\n" in rows["a"]["content"]
    assert "+new\n" in rows["b.py"]["content"]


def test_exclusion_wins_over_inclusion(repository: Any) -> None:
    """A file that both name is left out; a later pattern with ! takes it back."""
    base = repository.commit()
    repository.commit({"src/a.py": "a\n", "src/vendor/b.py": "b\n", "docs/c.py": "c\n"})
    rows = found(repository, f"{base}..", include=("src/",))
    assert rows["src/vendor/b.py"] == rows["docs/c.py"] == "excluded"
    assert isinstance(rows["src/a.py"], dict)
    back = (*DEFAULT_EXCLUDE, "!src/vendor/b.py")
    assert isinstance(found(repository, f"{base}..", exclude=back)["src/vendor/b.py"], dict)


HOSTILE = [
    'a "quoted".py',
    "b\nnewline.py",
    "c\ttab.py",
    "-d.py",
    ":(glob)*.py",
    "e 'x' $(f).py",
    "\N{SNAKE}.py",
    "back\\slash.py",
    "a b/ c .py",
    "a" * 200 + ".py",
]


def test_hostile_names_come_through(repository: Any) -> None:
    """Quotes, newlines, dashes and pathspec magic are names like any other."""
    base = repository.commit()
    repository.write(b"latin-\xe9.py", "x = 1\n")
    repository.commit(dict.fromkeys(HOSTILE, "x = 1\n"))
    rows = found(repository, f"{base}..")
    assert set(rows) == {*HOSTILE, "latin-\ufffd.py"}
    items = [read_input(row) for row in rows.values()]
    assert len({item.input_id for item in items}) == len(items)
    for item in items:
        assert item.input_id.isprintable()
        assert parse_diff(item.content)[0].path == item.path


def test_old_encodings_are_reviewed_and_marked(repository: Any) -> None:
    """A Latin-1 file is code all the same; the row says that bytes were replaced."""
    base = repository.commit()
    repository.write("a.py", "# caf\xe9\nx = 1\n".encode("latin-1"))
    repository.write("b.py", "# café\r\nx = 1\r\n")
    repository.commit()
    rows = found(repository, f"{base}..")
    assert "# caf\ufffd\n" in rows["a.py"]["content"]
    assert rows["a.py"]["bytes_replaced"] is True
    assert "+# café\r\n" in rows["b.py"]["content"]
    assert "bytes_replaced" not in rows["b.py"]


def test_code_that_looks_like_a_diff_does_not_split_a_file(repository: Any) -> None:
    """Lines of code always have a mark in front."""
    base = repository.commit({"a.py": "x\n", "b.py": "x\n"})
    fake = "diff --git a/evil b/evil\n--- a/evil\n+++ b/evil\n@@ -1 +1 @@\n-a\n+b\n"
    repository.commit({"a.py": fake, "b.py": "x\r" + fake + "no newline at the end"})
    rows = found(repository, f"{base}..")
    assert list(rows) == ["a.py", "b.py"]
    assert all("evil" in row["content"] for row in rows.values())


def test_settings_and_environment_change_nothing(
    repository: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the repository's own configuration nor a hook's variables alter a diff or run code."""
    base = repository.commit({"a.py": CODE})
    repository.commit({"a.py": CODE.replace("line 30\n", "thirty\n"), "é.py": "x\n"})
    plain = found(repository, f"{base}..")
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch '{tmp_path}/sprung'\n")
    trap.chmod(0o755)
    repository.write(".gitattributes", "*.py diff=trap\n")
    for setting in (
        ("diff.external", str(trap)),
        ("diff.trap.command", str(trap)),
        ("diff.trap.textconv", str(trap)),
        ("core.fsmonitor", str(trap)),
        ("core.pager", str(trap)),
        ("diff.noprefix", "true"),
        ("diff.mnemonicPrefix", "true"),
        ("diff.algorithm", "patience"),
        ("diff.context", "1"),
        ("diff.renames", "false"),
        ("diff.submodule", "log"),
        ("color.ui", "always"),
    ):
        repository.git("config", *setting)
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(trap))
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    monkeypatch.setenv("GIT_DIFF_OPTS", "-u1")
    monkeypatch.setenv("GIT_PAGER", str(trap))
    assert found(repository, f"{base}..") == plain
    assert not (tmp_path / "sprung").exists()


def prompts(rows: dict[str, Any]) -> dict[str, Any]:
    items = [read_input(row) for row in rows.values() if isinstance(row, dict)]
    rendered = [render_input(item, 10_000, len) for item in items]
    return {
        item.input_id: check_messages(item, part)
        for item, one in zip(items, rendered, strict=True)
        for part in one.parts
    }


def test_a_second_night_asks_only_for_what_changed(repository: Any) -> None:
    """The same change gives the same id and the same prompt, so the journal has its answer."""
    base = repository.commit({"a.py": CODE, "b.py": CODE})
    repository.commit({"a.py": CODE + "a = 1\n", "b.py": CODE + "b = 1\n"})
    first = prompts(found(repository, f"{base}..HEAD"))
    repository.commit({"b.py": CODE + "b = 2\n"})
    second = prompts(found(repository, f"{base}..HEAD"))
    kept = set(first) & set(second)
    assert [name.split("@")[0] for name in kept] == ["a.py"]
    assert all(first[name] == second[name] for name in kept)
    assert {name.split("@")[0] for name in set(second) - kept} == {"b.py"}


def test_an_edit_out_of_sight_keeps_the_id(repository: Any) -> None:
    """The file's hash differs, what a reviewer sees does not."""
    base = repository.commit({"a.py": CODE})
    repository.commit({"a.py": CODE.replace("line 5\n", "five\n")})
    first = prompts(found(repository, f"{base}..HEAD"))
    repository.git("checkout", "-q", base)
    other = repository.commit({"a.py": CODE.replace("line 55\n", "fifty-five\n")})
    text = CODE.replace("line 55\n", "fifty-five\n").replace("line 5\n", "five\n")
    repository.commit({"a.py": text})
    assert prompts(found(repository, f"{other}..HEAD")) == first


def test_a_closed_reader_leaves_no_process(repository: Any) -> None:
    """--limit stops reading early; git must not stay behind."""
    base = repository.commit()
    repository.commit({f"f{number}.py": CODE * 50 for number in range(200)})
    rows = read_source(f"git:{repository.root}@{base}..")
    assert next(rows).number == 1
    assert git_children()
    rows.close()
    assert not git_children()


def git_children() -> list[Path]:
    """Running git processes that this one started."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    mine = rf"\(git\) [RSDZ] {os.getpid()} "
    return [path for path in Path("/proc").glob("[0-9]*/stat") if re.search(mine, text_of(path))]


def text_of(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_the_whole_new_file_comes_along(repository: Any) -> None:
    """Where context reaches beyond hunks; the id of the same change is the same with it and without."""
    base = repository.commit({"a.py": CODE, "big.py": CODE * 100})
    repository.commit({"a.py": CODE + "end\n", "big.py": CODE * 100 + "end\n"})
    plain = found(repository, f"{base}..HEAD", max_bytes=10_000)
    wide = found(repository, f"{base}..HEAD", max_bytes=10_000, reach="file")
    assert wide["a.py"] == plain["a.py"] | {"file": CODE + "end\n"}
    assert wide["big.py"]["file"] is None
