"""Diffs of many producers (tests/data/cases/diffs), with the paths and numbers that are right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.records import Input
from tasks.load.rows import read_input
from tasks.review.inputs.diffs import looks_like_diff, parse_diff
from tasks.review.inputs.render import render_input
from tasks.review.places.anchors import anchor
from tasks.review.replies.contract import RawComment

CASES = Path(__file__).parents[2] / "data" / "cases" / "diffs"
TOTAL = "lib/total.py"


def _text(name: str) -> str:
    return (CASES / name).read_bytes().decode()


def _raw(path: str, line: int) -> RawComment:
    return RawComment(path, None, line, line, "bug", None, "high", None, "title", "message", None)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("svn.diff", TOTAL),
        ("hg.diff", TOTAL),
        ("gnu.diff", "total.py"),
        ("bom.diff", TOTAL),
        ("debian.diff", TOTAL),
        ("mail.diff", TOTAL),
        ("stray-line.diff", TOTAL),
        ("bitbucket.diff", TOTAL),
        ("bitbucket-blanks.diff", "lib/the total.py"),
        ("own-prefixes.diff", TOTAL),
        ("colours.diff", TOTAL),
    ],
)
def test_every_producer_with_and_without_kind(name: str, path: str) -> None:
    """A row's kind is seen, its path has no prefix, and lines have the file's own numbers."""
    for row in ({"content": _text(name)}, {"content": _text(name), "kind": "diff"}):
        assert read_input(row).kind == "diff"
    (file,) = parse_diff(_text(name))
    assert (file.path, file.old_path) == (path, path)
    lines = [line for hunk in file.hunks for line in hunk.lines]
    assert [(line.new, line.text) for line in lines if line.marker == "+"] == [
        (42, "    count = 1"),
        (43, "    size = len(rows)"),
    ]


def test_a_new_file_under_another_prefix() -> None:
    """Both names of its header are the new one."""
    (file,) = parse_diff(_text("bitbucket-new.diff"))
    assert (file.path, file.old_path) == (TOTAL, None)


def test_files_of_a_depot_are_told_apart() -> None:
    """A comment on the second file of `p4 describe` is placed there, not in the first."""
    text = _text("p4.diff")
    paths = ["//stream/main/lib/total.py", "//stream/main/lib/other.py"]
    assert [file.path for file in parse_diff(text)] == paths
    place = anchor(read_input({"content": text}), _raw(paths[1], 43))
    assert (place.path, place.start_line) == (paths[1], 43)


def test_hunks_that_fall_back_are_another_file() -> None:
    """Without a name, numbers that begin again do not go on in the file before."""
    hunk = "@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
    assert [len(file.hunks) for file in parse_diff(hunk + hunk)] == [1, 1]
    assert len(parse_diff(hunk + hunk.replace("-1,2 +1,2", "-9,2 +9,2"))) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lfs.diff", "lfs_pointer"),
        ("line-ends.diff", "no_text_change"),
        ("moved-line.diff", None),
        ("sql-comments.diff", None),
        ("stripped-blanks.diff", None),
    ],
)
def test_what_is_no_code_has_its_reason(name: str, reason: str | None) -> None:
    """A pointer and a change of line endings are not paid for; a moved line is a change."""
    rendered = render_input(Input("i", _text(name), "diff"), 10_000, len)
    assert rendered.unreviewable == reason
    assert bool(rendered.parts) == (reason is None)


def test_a_pointer_beside_code_is_not_shown() -> None:
    """The files of one diff are judged one by one."""
    text = _text("lfs.diff") + _text("hg.diff")
    (part,) = render_input(Input("i", text, "diff"), 10_000, len).parts
    assert TOTAL in part
    assert "sha256" not in part


def test_a_snippet_that_is_a_pointer() -> None:
    """Its first line says so."""
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    assert render_input(Input("i", text), 10_000, len).unreviewable == "lfs_pointer"


@pytest.mark.parametrize(
    "text",
    [
        f'DIFF = """\n{_text("hg.diff")}"""\n',
        "--- one\n+++ two\n",
        "# Changes\n\n- none\n",
        "\x1b[31mred\x1b[m\n",
    ],
)
def test_code_that_quotes_a_diff_is_none(text: str) -> None:
    """A test file with a diff in a string stays a snippet."""
    assert not looks_like_diff(text)


@pytest.mark.parametrize(
    "path", ["File: t/a.py", "t/a.py:13", "`t/a.py`", '"t/a.py:13-14"', "**t/a.py**", "./t/a.py"]
)
def test_a_decorated_path_is_understood(path: str) -> None:
    """What a model copies around a path does not hide which of two files is meant."""
    hunk = "@@ -10,2 +10,3 @@\n one\n two\n+stop()\n"
    text = "".join(f"--- a/{name}/a.py\n+++ b/{name}/a.py\n{hunk}" for name in "st")
    place = anchor(Input("i", text, "diff"), _raw(path, 12))
    assert (place.path, place.start_line) == ("t/a.py", 12)
