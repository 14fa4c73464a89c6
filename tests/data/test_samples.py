"""The samples are what their README says: sizes, labels, diffs that a tool can apply."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import orjson
import pytest

from tasks.core.records import Input
from tasks.load.rows import read_input
from tasks.review.inputs.diffs import parse_diff

_FILE = Path(__file__).parents[2] / "data" / "samples" / "samples.jsonl"
_FIELDS = ["input_id", "kind", "content", "path", "language", "title", "description", "expected"]
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")

ROWS = [orjson.loads(line) for line in _FILE.read_bytes().splitlines()]
INPUTS = [read_input(row) for row in ROWS]
DIFFS = [source for source in INPUTS if source.kind == "diff"]
FLAWED = [source for source in INPUTS if source.expected]


def _name(source: Input) -> str:
    return source.input_id


def _reviewed_lines(source: Input, path: str | None) -> dict[int, str]:
    """Lines under review by number: all of a snippet, the added ones of a diff's new side."""
    if source.kind == "snippet":
        return dict(enumerate(source.content.splitlines(), 1)) if path == source.path else {}
    files = [file for file in parse_diff(source.content) if file.path == path]
    lines = [line for file in files for hunk in file.hunks for line in hunk.lines]
    return {line.new: line.text for line in lines if line.new is not None and line.marker == "+"}


def test_ids_are_unique_and_rows_have_all_fields() -> None:
    """Each row has its own id and the documented fields, in one order."""
    assert len({row["input_id"] for row in ROWS}) == len(ROWS) >= 28
    assert all([*row] == _FIELDS for row in ROWS)


def test_kinds_and_labels_are_half_and_half() -> None:
    """As many snippets as diffs, and in each as many with a defect as without."""
    counts = Counter((source.kind, len(source.expected or ())) for source in INPUTS)
    quarter = len(INPUTS) // 4
    assert counts == {
        (kind, defects): quarter for kind in ("snippet", "diff") for defects in (0, 1)
    }


def test_four_languages_have_equal_shares() -> None:
    """JavaScript and TypeScript count as one."""
    counts = Counter((source.language or "").replace("type", "java", 1) for source in INPUTS)
    assert counts == dict.fromkeys(("python", "javascript", "go", "java"), len(INPUTS) // 4)


@pytest.mark.parametrize("source", INPUTS, ids=_name)
def test_code_is_short_and_ends_with_a_newline(source: Input) -> None:
    """From 10 to 40 lines, none of them with the spaces an editor leaves behind."""
    lines = source.content.splitlines()
    assert 10 <= len(lines) <= 40
    assert source.content.endswith("\n")
    # A blank line of context is a single space in a diff.
    assert [line for line in lines if line != " " and line != line.rstrip()] == []


@pytest.mark.parametrize("source", FLAWED, ids=_name)
def test_the_label_points_at_reviewed_code(source: Input) -> None:
    """The defect's lines exist on the new side, and are code, not blank lines or lone brackets."""
    for defect in source.expected or ():
        assert defect.start_line is not None
        assert defect.end_line is not None
        assert defect.side == "right"
        assert defect.category
        assert defect.severity
        assert defect.message
        lines = _reviewed_lines(source, defect.path)
        marked = [lines[number] for number in range(defect.start_line, defect.end_line + 1)]
        assert all(re.search(r"\w", line) for line in marked)


@pytest.mark.parametrize("source", DIFFS, ids=_name)
def test_hunks_hold_as_many_lines_as_they_say(source: Input) -> None:
    """Counted by hand, since a patch tool refuses a hunk with the wrong number of lines."""
    hunks = re.split(r"^(?=@@ )|^diff --git .*\n", source.content, flags=re.MULTILINE)
    hunks = [hunk for hunk in hunks if hunk.startswith("@@ ")]
    assert hunks
    for hunk in hunks:
        head, *body = hunk.splitlines()
        match = _HUNK.match(head)
        assert match is not None
        old, new = (int(match[group] or 1) for group in (2, 4))
        marks = Counter(line[0] for line in body)
        assert (marks[" "] + marks["-"], marks[" "] + marks["+"]) == (old, new)
        assert set(marks) <= {" ", "-", "+"}


@pytest.mark.parametrize("source", DIFFS, ids=_name)
def test_a_diff_is_of_the_file_that_the_row_names(source: Input) -> None:
    """One file: path is its new name; several files: path is null."""
    paths = [file.path for file in parse_diff(source.content)]
    assert paths == [source.path] if source.path else len(paths) > 1
