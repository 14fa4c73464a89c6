"""More of the file around a diff's hunks: the same changes at the same numbers, within the budget."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import Comment, Input
from tasks.review.inputs.context import is_on_change, widen
from tasks.review.inputs.diffs import DiffLine, parse_diff
from tasks.review.inputs.texts import lines_of

OLD = """import os


class Basket:
    limit = 5

    def add(self, item):
        if len(self.items) >= self.limit:
            raise ValueError(item)
        self.items.append(item)
        return len(self.items)

    @property
    def total(self):
        value = 0
        for item in self.items:
            value += item.price
        return value


def main():
    basket = Basket()
    basket.add(1)
    print(basket.total)
"""
NEW = OLD.replace("            value += item.price\n", "            value = item.price\n")


def diff(old: str, new: str, context: int = 1) -> str:
    """As git prints it, for one file."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), "a/x.py", "b/x.py", n=context
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def shown(content: str, marks: str = " +-") -> list[DiffLine]:
    (file,) = parse_diff(content)
    return [line for hunk in file.hunks for line in hunk.lines if line.marker in marks]


def always(_text: str) -> bool:
    return True


def test_a_function_is_shown_whole() -> None:
    """The function of the changed line with its decorator, and nothing of its neighbours."""
    pytest.importorskip("tree_sitter_python")
    wide = widen(diff(OLD, NEW), "x.py", NEW, "function", always)
    lines = [line.new for line in shown(wide, " +")]
    assert lines == list(range(13, 19))
    assert shown(wide, "+-") == shown(diff(OLD, NEW), "+-")


def test_outside_of_functions_the_class_is_shown() -> None:
    """A class attribute's scope is the class; a line of the module has none, and stays as it is."""
    pytest.importorskip("tree_sitter_python")
    attribute = OLD.replace("limit = 5", "limit = 6")
    lines = [
        line.new
        for line in shown(widen(diff(OLD, attribute), "x.py", attribute, "function", always), " +")
    ]
    assert lines == list(range(4, 19))
    module = OLD.replace("import os", "import sys")
    plain = diff(OLD, module)
    assert widen(plain, "x.py", module, "function", always) == plain


@pytest.mark.parametrize("path", ["x.unknown", None])
def test_what_has_no_grammar_stays_as_it_is(path: str | None) -> None:
    """No regular expression guesses where its functions are; all of the file is still to be had."""
    plain = diff(OLD, NEW)
    assert widen(plain, path, NEW, "function", always) == plain
    assert len(shown(widen(plain, path, NEW, "file", always), " +")) == len(lines_of(NEW))


def test_the_budget_decides() -> None:
    """Beyond it a file is shown as its functions, those one by one, and at last as the diff had it."""
    pytest.importorskip("tree_sitter_python")
    new = NEW.replace("basket.add(1)", "basket.add(2)")
    plain = diff(OLD, new)
    texts, most = list[str](), 10_000
    for _ in range(5):
        texts.append(widen(plain, "x.py", new, "file", lambda text, most=most: len(text) <= most))
        most = len(texts[-1]) - 1
    whole, both, one, other, none = (len(shown(text)) for text in texts)
    assert whole > both > one > other > none
    assert texts[-1] == plain


@pytest.mark.parametrize("reach", ["function", "file"])
def test_a_file_that_contradicts_its_diff_is_not_used(reach: Any) -> None:
    """A row whose `file` is of another version shows nothing wrong: its diff stays as it is."""
    plain = diff(OLD, NEW)
    assert widen(plain, "x.py", OLD, reach, always) == plain
    assert (
        widen(plain + plain.replace("x.py", "y.py"), "x.py", NEW, reach, always).count("@@ -") == 2
    )
    assert widen("no diff", "x.py", NEW, reach, always) == "no diff"


_texts = st.lists(
    st.sampled_from(["a", "b", "def f():", "    c", "", "-- x", "@@ -1 +1 @@"]), max_size=30
)


@given(old=_texts, new=_texts, context=st.integers(0, 3), crlf=st.booleans())
def test_widening_keeps_every_change(
    old: list[str], new: list[str], context: int, crlf: bool
) -> None:
    """Whatever changed, the whole file has the same changed lines with the same numbers on both sides."""
    if old == new:
        return
    end = "\r\n" if crlf else "\n"
    before, after = ("".join(f"{line}{end}" for line in lines) for lines in (old, new))
    plain = diff(before, after, context)
    wide = widen(plain, "x.py", after, "file", always)
    assert sorted(shown(wide, "+-"), key=str) == sorted(shown(plain, "+-"), key=str)
    if new:
        assert [line.text for line in shown(wide, " +")] == new
        assert [line.text for line in shown(wide, " -")] == old
        assert [line.old for line in shown(wide, " -")] == list(range(1, len(old) + 1))


def test_findings_count_on_changed_lines_only() -> None:
    """A comment elsewhere is left out; one on what was removed has the lines beside it, or the old side."""
    new = NEW.replace("        return len(self.items)\n", "")
    item = Input("x", widen(diff(OLD, new), "x.py", new, "file", always), kind="diff", path="x.py")
    comment = Comment(
        *("c", "f", "one", "x.py", "right", 16, 16, "exact", "bug", "high", None),
        *("t", "m", None, None, None),
    )

    def counts(first: int, last: int, side: Any = "right") -> bool:
        return is_on_change(item, replace(comment, start_line=first, end_line=last, side=side))

    assert counts(16, 16)
    assert counts(14, 18)
    assert not counts(21, 24)
    assert counts(10, 10)
    assert counts(11, 11, "left")
    assert not counts(10, 10, "left")
    assert is_on_change(item, replace(comment, start_line=None, end_line=None))
    assert is_on_change(replace(item, kind="snippet"), comment)
