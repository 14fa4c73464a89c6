"""Numbered renderings, and cutting them to a budget."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import Input
from tasks.review.inputs.render import MAX_PARTS, Rendered, render_input

DIFF = """diff --git a/f.py b/f.py
--- a/f.py
+++ b/f.py
@@ -9,3 +9,3 @@ def f():
 one
-two
+three
 four
@@ -90 +90,2 @@
 five
+six
"""


def words(text: str) -> int:
    """Tokens, for these tests."""
    return len(text.split())


def diff_of(sizes: list[int]) -> str:
    """A diff with one hunk of so many added lines per entry."""
    hunks, start = [], 1
    for size in sizes:
        body = "".join(f"+line {start + at}\n" for at in range(size))
        hunks.append(f"@@ -{start},0 +{start},{size} @@\n{body}")
        start += size + 10
    return "--- a/f\n+++ b/f\n" + "".join(hunks)


def shown(rendered: Rendered) -> list[int]:
    """The numbers of all lines in the parts, in order."""
    return [
        int(n)
        for part in rendered.parts
        for n in re.findall(r"^[+ ] *(\d+) \|", part, re.MULTILINE)
    ]


def left(rendered: Rendered) -> list[int]:
    """The numbers of all lines that were left out."""
    spans = [span.rpartition(":")[2].split("-") for span in rendered.left_out]
    return [n for first, last in spans for n in range(int(first), int(last) + 1)]


def test_diff_gutter() -> None:
    """New lines are numbered, removed ones are not, files and hunks are announced."""
    (part,) = render_input(Input("i", DIFF, "diff"), 1000, words).parts
    assert part.splitlines() == [
        "File: f.py",
        "@@ -9,3 +9,3 @@ def f():",
        "     9 | one",
        "-      | two",
        "+   10 | three",
        "    11 | four",
        "@@ -90,1 +90,2 @@",
        "    90 | five",
        "+   91 | six",
    ]


def test_snippet_gutter() -> None:
    """A snippet's lines are numbered as an editor does; form feeds and CRLF do not shift them."""
    (part,) = render_input(Input("i", "a\r\n\fb\u2028c\n\n d\n"), 1000, words).parts
    assert part == "     1 | a\n     2 | \fb\u2028c\n     3 | \n     4 |  d\n"


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        ("diff --git a/i b/i\nBinary files a/i and b/i differ\n", "diff", "binary"),
        ("diff --cc f\n@@@ -1 -1 +1,2 @@@\n++x\n", "diff", "combined_diff"),
        ("diff --git a/f b/f\nold mode 1\nnew mode 2\n", "diff", "no_added_lines"),
        ("--- a/f\n+++ b/f\n@@ -1,2 +1 @@\n x\n-y\n", "diff", "no_added_lines"),
        ("prose", "diff", "not_a_diff"),
        ("--- a/f\n+++ b/f\n@@ -1 +1 @@\n-x\n+y\n+z\n", "diff", "bad_diff"),
        (" \n\t\n", "snippet", "empty"),
    ],
)
def test_unreviewable(content: str, kind: str, reason: str) -> None:
    """An input with nothing to review says why, and has no parts."""
    source = Input("i", content, "diff" if kind == "diff" else "snippet")
    assert render_input(source, 1000, words) == Rendered((), unreviewable=reason)


def test_combined_file_makes_the_input_partial() -> None:
    """A combined diff beside a readable one is listed as left out."""
    rendered = render_input(
        Input("i", "diff --cc m\n@@@ -1 -1 +1 @@@\n++x\n" + DIFF, "diff"), 99, words
    )
    assert rendered.left_out == ("m:combined diff",)
    assert rendered.partial_reason == "left out: m:combined diff"


def test_splits_between_hunks() -> None:
    """Each part holds whole hunks, and announces its file again."""
    rendered = render_input(Input("i", diff_of([10, 10, 10]), "diff"), 60, words)
    assert [part.count("@@ -") for part in rendered.parts] == [1, 1, 1]
    assert all(part.startswith("File: f\n@@ ") for part in rendered.parts)
    assert rendered.left_out == ()


def test_names_what_is_left_out() -> None:
    """After three parts the rest is listed by path and new-side lines."""
    rendered = render_input(Input("i", diff_of([10] * 5), "diff"), 60, words)
    assert len(rendered.parts) == MAX_PARTS
    assert rendered.left_out == ("f:61-70", "f:81-90")


def test_cut_hunk() -> None:
    """A hunk larger than a part goes on in the next one, and what is left is one range."""
    rendered = render_input(Input("i", diff_of([100]), "diff"), 56, words)
    assert [part.count(" | line ") for part in rendered.parts] == [10, 10, 10]
    assert rendered.left_out == ("f:31-100",)


def test_line_over_the_budget() -> None:
    """A line that fits in no part is left out by itself, and takes no part from the others."""
    diff = diff_of([5]) + "@@ -50,0 +50 @@\n+" + "x " * 99 + "\n@@ -60,0 +60 @@\n+y\n"
    rendered = render_input(Input("i", diff, "diff"), 60, words)
    assert (len(rendered.parts), rendered.left_out) == (1, ("f:50-50",))


def test_budget_below_everything() -> None:
    """When not one line fits, the input is unreviewable."""
    assert render_input(Input("i", DIFF, "diff"), 3, words).unreviewable == "over_budget"


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8), budget=st.integers(12, 200))
def test_nothing_is_lost(sizes: list[int], budget: int) -> None:
    """Every line is either in exactly one part or listed, and no part is over the budget."""
    rendered = render_input(Input("i", diff_of(sizes), "diff"), budget, words)
    starts = [1 + sum(sizes[:at]) + 10 * at for at in range(len(sizes))]
    lines = [
        n for start, size in zip(starts, sizes, strict=True) for n in range(start, start + size)
    ]
    assert sorted(shown(rendered) + left(rendered)) == lines
    assert shown(rendered) == sorted(shown(rendered))
    assert 1 <= len(rendered.parts) <= MAX_PARTS
    assert all(words(part) <= budget for part in rendered.parts)


@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=8), budget=st.integers(70, 200))
def test_hunks_that_fit_stay_whole(sizes: list[int], budget: int) -> None:
    """A hunk within the budget is never cut."""
    rendered = render_input(Input("i", diff_of(sizes), "diff"), budget, words)
    hunks = [
        int(n)
        for part in rendered.parts
        for n in re.findall(r"^@@ .*,(\d+) @@", part, re.MULTILINE)
    ]
    assert all(size in sizes for size in hunks)
    assert len(hunks) + len(rendered.left_out) == len(sizes)
