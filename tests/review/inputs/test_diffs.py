"""Reading unified diffs."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import RowError
from tasks.review.inputs.diffs import DiffLine, FileDiff, parse_diff

BODY = "@@ -1,2 +1,2 @@\n one\n-two\n+three\n"
ODD_LINES = st.sampled_from(
    [
        "",
        " ",
        "x",
        "-- a/x",
        "++ b/x",
        "-- ",
        "@@ -1 +1 @@",
        "\\ No newline",
        "diff --git a b",
        "\f",
    ]
)
LINES = st.lists(ODD_LINES | st.text("ab+- \t", max_size=4), max_size=12)


def numbered(file: FileDiff) -> list[DiffLine]:
    """All lines of a file's hunks."""
    return [line for hunk in file.hunks for line in hunk.lines]


def applied(file: FileDiff, old: list[str]) -> list[str]:
    """`old` with the file's hunks applied, by their numbers alone."""
    gone = {line.old for line in numbered(file) if line.marker == "-"}
    new = [text for at, text in enumerate(old, 1) if at not in gone]
    for line in numbered(file):
        if line.marker == "+":
            assert line.new is not None
            new.insert(line.new - 1, line.text)
    return new


@given(old=LINES, new=LINES, context=st.integers(0, 3), crlf=st.booleans())
def test_round_trip(old: list[str], new: list[str], context: int, *, crlf: bool) -> None:
    """Applying the parsed hunks to the old text gives the new text, whatever the lines look like."""
    end = "\r\n" if crlf else "\n"
    diff = list(difflib.unified_diff(old, new, "a/f", "b/f", n=context, lineterm=""))
    if not diff:
        assert old == new
        return
    (file,) = parse_diff(end.join(diff) + end)
    assert applied(file, old) == new
    for line in numbered(file):
        assert line.old is None or old[line.old - 1] == line.text
        assert line.new is None or new[line.new - 1] == line.text


@given(
    st.text()
    | st.lists(
        st.sampled_from([*BODY.splitlines(), "--- a/f", "+++ b/f", "diff --git a/f b/f", "@@ -1"])
        | ODD_LINES
        | st.sampled_from(["Binary files a and b differ", "diff --cc f", "rename from x", "-", "+"])
    ).map("\n".join)
)
def test_raises_nothing_but_row_errors(text: str) -> None:
    """Any text is read, or refused by a RowError with one of two codes."""
    refused = None
    try:
        files = parse_diff(text)
    except RowError as error:
        files, refused = (), error.code
    assert bool(files) != (refused in {"not_a_diff", "bad_diff"})


@pytest.mark.parametrize(
    ("header", "path", "old_path"),
    [
        ("diff --git a/f.py b/f.py\n--- a/f.py\n+++ b/f.py\n", "f.py", "f.py"),
        ("--- f.py\n+++ f.py\n", "f.py", "f.py"),
        ("--- a/f.py\t2024-01-01 10:00\n+++ b/f.py\t2024-01-02 10:00\n", "f.py", "f.py"),
        ("diff --git b/f.py b/f.py\n--- b/f.py\n+++ b/f.py\n", "b/f.py", "b/f.py"),
        ("diff --git i/f.py w/f.py\n--- i/f.py\n+++ w/f.py\n", "f.py", "f.py"),
        (
            "diff --git a/n.py b/n.py\nnew file mode 100644\n--- /dev/null\n+++ b/n.py\n",
            "n.py",
            None,
        ),
        ("diff --git b/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n", "b/n", None),
        ("--- a/gone.py\n+++ /dev/null\n", "gone.py", "gone.py"),
        (
            "diff --git a/o.py b/n.py\nrename from o.py\nrename to n.py\n--- a/o.py\n+++ b/n.py\n",
            "n.py",
            "o.py",
        ),
        ('--- "a/caf\\303\\251.py"\n+++ "b/caf\\303\\251.py"\n', "café.py", "café.py"),
        (
            "diff --git a/my f.py b/my f.py\n--- a/my f.py\t\n+++ b/my f.py\t\n",
            "my f.py",
            "my f.py",
        ),
        ("Index: f.py\n=====\n--- f.py\t(revision 1)\n+++ f.py\t(working copy)\n", "f.py", "f.py"),
        ("", None, None),
    ],
)
def test_names(header: str, path: str | None, old_path: str | None) -> None:
    """Names are found under every kind of header, without prefixes that are none of theirs."""
    (file,) = parse_diff(header + BODY)
    assert (file.path, file.old_path) == (path, old_path)
    assert [line.marker for line in numbered(file)] == [" ", "-", "+"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("diff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\n", "run.sh"),
        ("diff --git a/e b/e\nnew file mode 100644\nindex 0000000..e69de29\n", "e"),
        ("diff --git a/a b b/a b\nold mode 100644\nnew mode 100755\n", "a b"),
        ("diff --git a/o b/n\nsimilarity index 100%\nrename from o\nrename to n\n", "n"),
    ],
)
def test_changes_without_lines(text: str, path: str) -> None:
    """A change of mode or name is a file without hunks."""
    (file,) = parse_diff(text)
    assert (file.path, file.hunks, file.skipped) == (path, (), None)


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        (
            "diff --git a/i.png b/i.png\nBinary files a/i.png and b/i.png differ\n",
            "i.png",
            "binary",
        ),
        ("diff --git a/i.png b/i.png\nGIT binary patch\nliteral 3\nKcmZ\n\n", "i.png", "binary"),
        (
            "diff --cc f.py\nindex 1,2..3\n--- a/f.py\n+++ b/f.py\n@@@ -1,1 -1,1 +1,2 @@@\n  x\n++y\n",
            "f.py",
            "combined_diff",
        ),
    ],
)
def test_skipped_files(text: str, path: str, reason: str) -> None:
    """What cannot be read by line is named with its reason, and the next file is read."""
    skipped, file = parse_diff(text + "diff --git a/g b/g\n--- a/g\n+++ b/g\n" + BODY)
    assert (skipped.path, skipped.skipped, skipped.hunks) == (path, reason, ())
    assert (file.path, len(numbered(file))) == ("g", 3)


def test_no_newline_at_end() -> None:
    """The note about a missing newline is no line of the file."""
    note = "\\ No newline at end of file\n"
    (file,) = parse_diff(f"--- a/f\n+++ b/f\n@@ -1 +1 @@\n-x\n{note}+y\n{note}")
    assert numbered(file) == [DiffLine("-", "x", 1, None), DiffLine("+", "y", None, 1)]


def test_files_without_git_headers() -> None:
    """Plain diffs follow each other directly; removed lines that look like headers are lines."""
    first = "--- a\n+++ a\n@@ -1,3 +1,3 @@\n x\n--- y\n+++ y\n z\n"
    one, two = parse_diff(
        first + "@@ -9 +9 @@\n--- v\n+++ w\n@@ -20 +20 @@\n-a\n+b\n--- b\n+++ b\n" + BODY
    )
    assert [line.text for line in numbered(one)] == [
        "x",
        "-- y",
        "++ y",
        "z",
        "-- v",
        "++ w",
        "a",
        "b",
    ]
    assert two.path == "b"


def test_mailed_patch() -> None:
    """The message before and the signature behind a mailed patch are not read as code."""
    head = "From 1 Mon Sep 17\nSubject: x\n\n- a bullet\n---\n f | 2 +-\n\n"
    (file,) = parse_diff(f"{head}diff --git a/f b/f\n--- a/f\n+++ b/f\n{BODY}-- \n2.40.0\n\n")
    assert len(numbered(file)) == 3


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("just words\n", "not_a_diff", None),
        ("", "not_a_diff", None),
        (f"--- a/f\n+++ b/f\n{BODY}+extra\n", "bad_diff", 7),
        ("--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n one\nlost mark\n+x\n", "bad_diff", 5),
        ("--- a/f\n+++ b/f\n@@ some function @@\n one\n", "bad_diff", 3),
    ],
)
def test_refusals(text: str, code: str, line: int | None) -> None:
    """What would put line numbers in doubt is refused, with the line and a remedy."""
    with pytest.raises(RowError) as caught:
        parse_diff(text)
    assert caught.value.code == code
    assert "git diff" in str(caught.value)
    assert line is None or f"line {line} " in str(caught.value)


def test_stripped_ends() -> None:
    """A hunk whose last blank context lines were stripped is read as far as it goes."""
    (file,) = parse_diff("--- a/f\n+++ b/f\n@@ -1,3 +1,4 @@\n one\n+two\n\n")
    assert [(line.marker, line.new) for line in numbered(file)] == [(" ", 1), ("+", 2), (" ", 3)]
