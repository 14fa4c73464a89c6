from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import RowError
from tasks.load.rows import read_input
from tasks.load.sources import read_source
from tasks.load.sources.adapters import adapt_row
from tasks.review.inputs.render import render_input

HUNK = "@@ -1,2 +1,2 @@\n-a\n+b\n c"


def test_code_reviewer_rows() -> None:
    """The comment is the label, y = 0 means known clean, a hunk without header is a diff."""
    row = {"oldf": "a\nc", "patch": HUNK, "msg": "Why b?", "id": 17, "y": 1, "lang": "py"}
    item = read_input(adapt_row(row))
    assert (item.input_id, item.kind, item.content, item.language) == ("17", "diff", HUNK, "py")
    assert item.expected
    assert item.expected[0].message == "Why b?"
    assert item.extra == {"oldf": "a\nc", "y": 1}
    assert not render_input(item, 1000, len).unreviewable


@pytest.mark.parametrize("y", [0, "0", 0.0, False])
def test_code_reviewer_rows_that_are_clean(y: Any) -> None:
    """As JSON, CSV and pandas write it."""
    assert read_input(adapt_row({"patch": HUNK, "msg": "", "y": y, "id": 0})).expected == ()


def test_code_reviewer_rows_without_a_label() -> None:
    """Neither a comment nor y = 0: not labelled. The id may be named cmtid, or be missing."""
    item = read_input(adapt_row({"patch": HUNK, "msg": "", "cmtid": "c1"}))
    assert (item.input_id, item.expected) == ("c1", None)
    assert len(read_input(adapt_row({"patch": HUNK, "y": 1})).input_id) == 32


def test_swe_rows() -> None:
    """The issue's text is the change's description; repository and commit stay columns."""
    row = {
        "instance_id": "django__django-1",
        "repo": "django/django",
        "base_commit": "abc",
        "patch": f"diff --git a/x b/x\n--- a/x\n+++ b/x\n{HUNK}",
        "problem_statement": "It is slow.",
        "test_patch": "",
    }
    item = read_input(adapt_row(row))
    assert (item.input_id, item.kind, item.description) == (
        "django__django-1",
        "diff",
        "It is slow.",
    )
    assert item.extra == {"repo": "django/django", "base_commit": "abc", "test_patch": ""}


@pytest.mark.parametrize(
    "row",
    [
        {"content": "x", "patch": HUNK, "msg": "m"},
        {"input_code": "x", "instance_id": "a", "patch": HUNK},
        {"patch": HUNK},
        {"patch": None, "msg": "m"},
        {"msg": "m"},
        {},
        [HUNK],
        None,
        RowError("broken"),
    ],
)
def test_other_rows_are_left_alone(row: Any) -> None:
    """Ours, and those that only resemble a known form: validation has the word."""
    assert adapt_row(row) is row


@pytest.mark.parametrize("patch", [7, [], "", "a\0b"])
def test_wrong_values_are_left_to_validation(patch: Any) -> None:
    """An adapter renames, it does not judge."""
    with pytest.raises(RowError, match="content"):
        read_input(adapt_row({"patch": patch, "msg": ["m"], "id": "1"}))


def test_forms_are_told_apart_row_by_row(tmp_path: Path) -> None:
    """One file may hold them all."""
    rows = [
        {"input_id": "ours", "content": "x"},
        {"instance_id": "swe", "patch": HUNK},
        {"id": "reviewer", "patch": HUNK, "msg": "m"},
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    ids = [read_input(row.row).input_id for row in read_source(str(path))]
    assert ids == ["ours", "swe", "reviewer"]
