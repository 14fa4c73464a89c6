"""Where comments land."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import Input
from tasks.review.inputs.texts import content_id
from tasks.review.places.anchors import anchor, build_comment
from tasks.review.places.fingerprints import kin
from tasks.review.replies.contract import RawComment

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "anchoring.py"
SAMPLES = Path(__file__).parents[3] / "data" / "samples"

DIFF = """diff --git a/src/bank.py b/src/bank.py
--- a/src/bank.py
+++ b/src/bank.py
@@ -10,8 +10,9 @@ class Account:
     def close(self):
-        if self.balance != 0:
-            raise NotEmpty(self.name)
+        log.info("closing %s", self.name)
+        self.balance = round(self.balance, 2)
         self.open = False
         return self

-    def rename(self, name):
+    def rename(self, name: str) -> None:
+        self.validate(name)
         self.name = name
@@ -40,3 +41,6 @@ class Account:
     def reopen(self):
         self.open = True
+        self.validate(self.name)
         return self
+
+    # see https://example.test/accounts
diff --git a/src/old.py b/src/ledger.py
similarity index 90%
rename from src/old.py
rename to src/ledger.py
--- a/src/old.py
+++ b/src/ledger.py
@@ -1,2 +1,3 @@
 import io
+import os
 import re
"""
SOURCE = Input("i", DIFF, "diff")


def raw(
    code: str | None = None,
    start: int | None = None,
    end: int | None = None,
    *,
    path: str | None = "src/bank.py",
    left: bool = False,
) -> RawComment:
    """A comment as read from a reply."""
    return RawComment(
        path=path,
        existing_code=code,
        start_line=start,
        end_line=end,
        category="bug",
        rationale=None,
        severity="high",
        confidence=None,
        title="Title",
        message="Message",
        suggestion=None,
        side="left" if left else "right",
    )


def place(comment: RawComment, source: Input = SOURCE) -> tuple[str, str, int | None, int | None]:
    """Method, side and lines of the comment's anchor."""
    found = anchor(source, comment)
    return found.method, found.side, found.start_line, found.end_line


LOG = 'log.info("closing %s", self.name)'
TWO = f"{LOG}\n        self.balance = round(self.balance, 2)"
GONE = "        if self.balance != 0:\n            raise NotEmpty(self.name)"


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        (raw(LOG, 11, 11), ("exact", "right", 11, 11)),
        (raw(LOG, 11), ("exact", "right", 11, 11)),
        (raw(LOG, 13), ("quote", "right", 11, 11)),
        (raw(LOG), ("quote", "right", 11, 11)),
        (raw(TWO, 12, 11), ("exact", "right", 11, 12)),
        (
            raw("\tlog.info( 'x' )".replace("'x'", '"closing %s",  self.name'), 2),
            ("quote", "right", 11, 11),
        ),
        (raw('info("closing %s"', 11), ("exact", "right", 11, 11)),
        (raw('"closing %s", self.name)\n  self.balance = rou', 99), ("quote", "right", 11, 12)),
        (raw("return self\n\n\ndef rename(self, name: str)", 9), ("quote", "right", 14, 16)),
        (raw(f"+   11 |         {LOG}", 50), ("quote", "right", 11, 11)),
        (raw(f"11: {LOG}", 50), ("quote", "right", 11, 11)),
        (raw(f"```python\n{LOG}\n```", 11), ("exact", "right", 11, 11)),
        (raw(f"...\n{LOG}\n...", 11), ("exact", "right", 11, 11)),
        (raw(f"-{GONE}\n+        {LOG}", 11), ("exact", "right", 11, 11)),
    ],
)
def test_quotes_on_the_right(
    comment: RawComment, expected: tuple[str, str, int | None, int | None]
) -> None:
    """However a new line is copied and claimed, it is found where it stands."""
    assert place(comment) == expected


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        (raw(GONE, 11, 12), ("exact", "left", 11, 12)),
        (raw(GONE, 99), ("quote", "left", 11, 12)),
        (raw("-            raise NotEmpty(self.name)", 14), ("quote", "left", 12, 12)),
        (
            raw("-            raise NotEmpty(self.name)\n         self.open"),
            ("quote", "left", 12, 13),
        ),
        (raw("-      |             raise NotEmpty(self.name)"), ("quote", "left", 12, 12)),
        (raw("def rename(self, name):", 17), ("quote", "left", 16, 16)),
        (raw("self.open = False", 13, left=True), ("exact", "right", 13, 13)),
    ],
)
def test_quotes_on_the_left(
    comment: RawComment, expected: tuple[str, str, int | None, int | None]
) -> None:
    """A removed line is on the left side with its old number; context never is."""
    assert place(comment) == expected


@pytest.mark.parametrize(
    "comment",
    [
        raw("return self", 30),
        raw("return self"),
        raw("return self", 42),
        raw("self.validate(", 5),
        raw(")"),
        raw("2)", 30),
        raw("self.name = name\n    def reopen(self):", 30),
        raw("no such code anywhere", 30),
        raw("no such code anywhere"),
        raw(None, 30),
        raw(None, 0),
        raw(None, -5, 10**12),
        raw(),
        raw(" \n"),
    ],
)
def test_doubts(comment: RawComment) -> None:
    """What stands at several places or at none is unanchored, and has no lines."""
    found = anchor(SOURCE, comment)
    assert (found.method, found.start_line, found.end_line) == ("unanchored", None, None)
    assert (found.path, found.text) == ("src/bank.py", None)


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        (raw("return self", 14), ("exact", "right", 14, 14)),
        (raw("return self", 43, 46), ("quote", "right", 44, 44)),
        (raw("self.validate(", 43), ("exact", "right", 43, 43)),
        (raw(")", 17), ("exact", "right", 17, 17)),
        (raw("   44 |         return self"), ("quote", "right", 44, 44)),
    ],
)
def test_claims_decide(
    comment: RawComment, expected: tuple[str, str, int | None, int | None]
) -> None:
    """Of several places the one within the claimed lines, or the gutter's number, is meant."""
    assert place(comment) == expected


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        (raw(None, 12), ("lines", "right", 12, 12)),
        (raw("no such code", 12, 13), ("lines", "right", 12, 13)),
        (raw(None, 17, 400), ("lines", "right", 17, 18)),
        (raw(None, 11, 12, left=True), ("lines", "left", 11, 12)),
    ],
)
def test_lines_without_a_quote(
    comment: RawComment, expected: tuple[str, str, int | None, int | None]
) -> None:
    """Lines alone stand when they are in a hunk, and end where it ends."""
    assert place(comment) == expected


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("src/ledger.py", "src/ledger.py"),
        ("./src/ledger.py", "src/ledger.py"),
        ("ledger.py", "src/ledger.py"),
        ("repo/src/ledger.py", "src/ledger.py"),
        ("src/old.py", "src/ledger.py"),
        ("src/bank.py", "src/ledger.py"),
        ("nowhere.py", "src/ledger.py"),
        (None, "src/ledger.py"),
    ],
)
def test_paths(path: str | None, found: str) -> None:
    """A quote that stands in one file only gets that file's new name."""
    assert anchor(SOURCE, raw("import os", 2, path=path)).path == found


def test_lines_need_a_file() -> None:
    """Lines without a quote or a path could mean any file of the diff."""
    assert place(raw(None, 2, path=None))[0] == "unanchored"
    assert place(raw(None, 2, path="ledger.py")) == ("lines", "right", 2, 2)


def test_both_sides_in_one_quote() -> None:
    """Removed and added lines quoted together mean the added ones."""
    assert place(raw(f"{GONE}\n        {LOG}", 30)) == ("quote", "right", 11, 11)


def test_unchanged_code_on_both_sides() -> None:
    """Code that was only laid out anew belongs to the new side."""
    diff = "--- a/f\n+++ b/f\n@@ -1,2 +1,3 @@\n-call(one)\n+if ready:\n+    call(one)\n end\n"
    assert place(raw("call(one)", 7, path="f"), Input("i", diff, "diff"))[1:3] == ("right", 2)


def test_old_line_that_is_a_part_of_the_new_one() -> None:
    """Nothing tells the whole old line from a part of the new one: no place is better than one."""
    diff = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-return total\n+return total / count\n"
    source = Input("i", diff, "diff")
    assert place(raw("return total", 1, path="f"), source)[0] == "unanchored"
    assert place(raw("-return total", 1, path="f"), source)[1] == "left"
    assert place(raw("return total /", 1, path="f"), source)[1] == "right"


@pytest.mark.parametrize(
    ("hunks", "claim", "method"),
    [
        # The removed line stands again in another hunk: moved, or a different line altogether.
        ("@@ -1,2 +1 @@\n-call(one)\n end\n@@ -20 +19,2 @@\n top\n+call(one)\n", 9, "unanchored"),
        ("@@ -1,2 +1 @@\n-call(one)\n end\n@@ -20 +19,2 @@\n top\n+call(one)\n", 20, "exact"),
        # A part of an old line and of the new one beside it.
        ("@@ -1 +1 @@\n-x = call(one)\n+y = call(one)\n", 9, "unanchored"),
        ("@@ -1 +1 @@\n-x = call(one)\n+y = call(one)\n", 1, "exact"),
        # A whole line of context, and a part of an added one.
        ("@@ -1 +1,2 @@\n call(one)\n+y = call(one)\n", 9, "unanchored"),
        ("@@ -1 +1,2 @@\n call(one)\n+y = call(one)\n", 2, "exact"),
        # Context, and the same line added.
        ("@@ -1 +1,2 @@\n call(one)\n+call(one)\n", 9, "quote"),
    ],
)
def test_several_kinds_of_places(hunks: str, claim: int, method: str) -> None:
    """Places of different kinds are a doubt unless the claim names one or the diff adds one."""
    source = Input("i", f"--- a/f\n+++ b/f\n{hunks}", "diff")
    found = place(raw("call(one)", claim, path="f"), source)
    assert found[:2] == (method, "right")


def test_snippets() -> None:
    """A snippet is anchored by its own lines, whatever path the comment gives."""
    source = Input("i", "def f():\r\n    return 1\r\n", path="f.py")
    found = anchor(source, raw("return 1", 2, path="elsewhere.py"))
    assert (found.method, found.path, found.start_line, found.text) == (
        "exact",
        "f.py",
        2,
        "    return 1",
    )


def test_unreadable_diff() -> None:
    """A diff that cannot be read anchors nothing."""
    assert place(raw("x", 1), Input("i", "prose", "diff"))[0] == "unanchored"


@given(
    code=st.none() | st.text(max_size=30) | st.sampled_from(DIFF.splitlines()),
    start=st.none() | st.integers(),
    end=st.none() | st.integers(),
    path=st.none() | st.text(max_size=12) | st.sampled_from(["src/bank.py", "old.py"]),
    left=st.booleans(),
)
def test_any_claim(
    *, code: str | None, start: int | None, end: int | None, path: str | None, left: bool
) -> None:
    """Whatever a model claims, lines are given exactly when the comment is anchored, and exist."""
    found = anchor(SOURCE, raw(code, start, end, path=path, left=left))
    assert (found.start_line is None) == (found.method == "unanchored") == (found.text is None)
    if found.start_line is not None and found.end_line is not None:
        assert 1 <= found.start_line <= found.end_line <= 46


def test_built_comments() -> None:
    """A comment carries its anchor, an id by input, check and number, and bounded values."""
    one = build_comment(SOURCE, "mini", 0, raw(LOG, 13))
    again = build_comment(SOURCE, "mini", 0, raw(LOG, 13))
    assert one == again
    assert (one.loc_method, one.start_line, one.check_models) == ("quote", 11, ("mini",))
    others = {
        build_comment(SOURCE, "mini", 1, raw(LOG)).comment_id,
        build_comment(SOURCE, "maxi", 0, raw(LOG)).comment_id,
        build_comment(Input("j", DIFF, "diff"), "mini", 0, raw(LOG)).comment_id,
    }
    assert len(others | {one.comment_id}) == 4
    # The quote's damage does not reach the fingerprint: it is over the input's own lines.
    damaged = build_comment(SOURCE, "maxi", 5, raw(f"+   11 |  {LOG}", 40))
    assert damaged.fingerprint == one.fingerprint


@pytest.fixture(scope="module")
def anchoring() -> ModuleType:
    """The benchmark, loaded from its file."""
    spec = importlib.util.spec_from_file_location("anchoring_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_damaged_comments(anchoring: ModuleType) -> None:
    """Of damaged comments on real and sample code none lands wrong, and most land right."""
    inputs = [SOURCE, *anchoring.read_inputs(SAMPLES)]
    inputs += [
        Input(path.name, path.read_text("utf-8"), path=path.name)
        for path in (BENCHMARK, Path(__file__))
    ]
    rounds = 1 + 400 // len(inputs)
    counts = {"right": 0, "unanchored": 0, "twin": 0, "elsewhere": 0, "wrong": 0}
    for case in anchoring.cases(inputs, rounds):
        counts[anchoring.judge(case)] += 1
    total = sum(counts.values())
    assert total >= 1000
    assert counts["wrong"] == 0
    assert counts["right"] + counts["unanchored"] >= 0.98 * (total - counts["elsewhere"])
    assert counts["right"] >= 0.8 * total


TWINS = """def first(row):
    value = eval(row)
    return value


def second(row):
    value = eval(row)
    log(value)
"""


def named(content: str, line: int, **fields: Any) -> str:
    """The fingerprint of a comment on `value = eval(row)` at a line."""
    source = Input("i", content, **fields)
    return build_comment(source, "check", 0, raw("    value = eval(row)", line, line)).fingerprint


def test_equal_quotes_are_told_apart_by_the_code_around() -> None:
    """The second keeps its name when the first is repaired: a rank would shift."""
    first, second = named(TWINS, 2, path="a.py"), named(TWINS, 7, path="a.py")
    assert first != second
    assert kin(first) == kin(second)
    repaired = TWINS.replace("value = eval(row)", "value = int(row)", 1)
    assert named(repaired, 7, path="a.py") == second
    assert named(f"import os\n\n\n{TWINS}", 10, path="a.py") == second


def test_inputs_without_a_path_have_names_of_their_own() -> None:
    """One false positive that is marked must not silence the same quote in every other snippet."""
    one = build_comment(Input("one", TWINS), "check", 0, raw(None)).fingerprint
    other = build_comment(Input("other", TWINS), "check", 0, raw(None)).fingerprint
    assert one != other
    same = {named_as("other", TWINS), named_as("other", f"{TWINS}\nx = 1\n")}
    assert len(same) == 1
    assert named_as("one", TWINS) not in same


def named_as(input_id: str, content: str) -> str:
    """The fingerprint in an input that has no path."""
    source = Input(input_id, content)
    return build_comment(
        source, "check", 0, raw("def first(row):\n    value = eval(row)")
    ).fingerprint


def test_an_id_made_of_the_content_does_not_count() -> None:
    """It changes with every edit; the lines around a quote tell snippets without path and id apart."""
    edited = f"{TWINS}\n\ndef third():\n    return 3\n"
    same = {named_as(content_id(text), text) for text in (TWINS, edited)}
    assert len(same) == 1
    elsewhere = TWINS.replace("def second", "def other")
    assert named_as(content_id(elsewhere), elsewhere) not in same
