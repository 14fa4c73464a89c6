"""The code around a finding, taken from its input, and the link to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.core.records import Input
from tasks.report.html.context import AROUND, CodeLine, Context, context_of, read_contexts
from tests.factories import CODE, comment, findings, write_run

_LINK = "https://git.example.test/{repo}/blob/{commit}/{path}#L{line}"
_DIFF = """\
diff --git a/src/app.py b/src/app.py
--- a/src/app.py
+++ b/src/app.py
@@ -10,4 +10,5 @@ def total(rows):
 before = 1
-removed = 2
+added = 2
+more = 3
 after = 4
 last = 5
@@ -40,2 +41,2 @@
 far = 1
+away = 2
-gone = 2
"""
_COMMITS = {"repo": "team/app", "base_commit": "ba5e", "head_commit": "4ead"}


def _context(source: Input, link: str | None = None, **fields: Any) -> Context:
    (finding,) = findings(comment(source.input_id, **fields), path=source.path).shown
    return context_of(source, finding, link)


def _snippet(lines: int) -> Input:
    content = "\n".join(f"line {number}" for number in range(1, lines + 1))
    return Input("a", content, path="src/app.py")


def test_five_lines_on_each_side_of_a_snippet() -> None:
    """The finding's own lines are marked, those around it are not; numbers are those of the file."""
    lines = _context(_snippet(40), line=20, end_line=21).lines
    assert [one.number for one in lines] == list(range(20 - AROUND, 22 + AROUND))
    assert [one.number for one in lines if one.found] == [20, 21]
    assert lines[0] == CodeLine(15, "", "line 15", found=False)


def test_a_file_ends_where_it_ends() -> None:
    """Nothing is made up in front of the first line or behind the last one."""
    assert [one.number for one in _context(_snippet(3), line=1).lines] == [1, 2, 3]
    assert _context(_snippet(3), line=9).lines == ()


def test_a_diff_shows_both_sides_of_the_hunk() -> None:
    """Removed lines stand among the new ones, with their marks; the next hunk is no neighbour."""
    lines = _context(Input("a", _DIFF, kind="diff"), line=12).lines
    assert [(one.marker, one.text) for one in lines] == [
        ("", "before = 1"),
        ("-", "removed = 2"),
        ("+", "added = 2"),
        ("+", "more = 3"),
        ("", "after = 4"),
        ("", "last = 5"),
    ]
    assert [one.text for one in lines if one.found] == ["more = 3"]


def test_a_removed_line_is_found_on_the_old_side() -> None:
    """Its number is the old one, and its link leads to the commit that still has it."""
    source = Input("a", _DIFF, kind="diff", extra=_COMMITS)
    context = _context(source, _LINK, line=11, side="left")
    assert [one.text for one in context.lines if one.found] == ["removed = 2"]
    assert context.link == "https://git.example.test/team/app/blob/ba5e/src/app.py#L11"


def test_a_link_needs_all_that_it_names() -> None:
    """Without a commit, or without a line, there is no link."""
    source = Input("a", _DIFF, kind="diff", extra=_COMMITS)
    assert _context(source, _LINK, line=12).link == (
        "https://git.example.test/team/app/blob/4ead/src/app.py#L12"
    )
    assert _context(_snippet(9), _LINK, line=2).link is None
    assert _context(source, _LINK, line=None) == Context()
    assert _context(source, None, line=12).link is None


def test_what_is_shown_is_bounded() -> None:
    """Neither a finding over a thousand lines nor a line of a megabyte fills the report."""
    assert len(_context(_snippet(1000), line=100, end_line=900).lines) == 16 + 2 * AROUND
    wide = Input("a", "x" * 2**20, path="src/app.py")
    assert len(_context(wide, line=1).lines[0].text) < 400


def test_contexts_come_from_the_merged_inputs(tmp_path: Path) -> None:
    """Every finding that has a line gets its context, in one pass over the run's inputs."""
    source = Input("in-3", "\n".join(CODE), path="src/app.py")
    one = comment(source.input_id, path=source.path, line=2)
    paths, _ = write_run(tmp_path / "run", [(source, [one], [])])
    (shown,) = findings(one, input_id=source.input_id, path=source.path).shown
    found = read_contexts(paths, [shown], None)
    assert [line.found for line in found[one.comment_id].lines][:3] == [False, True, False]
    assert read_contexts(paths, [], None) == {}
