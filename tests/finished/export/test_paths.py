"""Paths and fixes as exports write them: found by their readers, and never outside the repository."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from tasks.core.records import Input
from tasks.finished.export.fixes import fix_of
from tasks.finished.export.paths import artifact_uri, leaves_root, report_path
from tasks.review.places.anchors import build_comment
from tasks.review.replies.contract import RawComment


@pytest.mark.parametrize(
    ("path", "uri", "shown"),
    [
        ("src\\app\\x.py", "src/app/x.py", "src/app/x.py"),
        ("C:\\src\\a b.py", "file:///C:/src/a%20b.py", "C:/src/a b.py"),
        ("odd\\name/x.py", "odd%5Cname/x.py", "odd\\name/x.py"),
        ("../x.py", "x.py", "x.py"),
        ("a/../../etc/x", "etc/x", "etc/x"),
        ("..\\x.py", "x.py", "x.py"),
        ("//stream/main/x.py", "stream/main/x.py", "stream/main/x.py"),
        ("/srv/x.py", "file:///srv/x.py", "/srv/x.py"),
        ("file:///etc/x", "file%3A///etc/x", "file:///etc/x"),
        ("..", ".", "."),
    ],
)
def test_paths(path: str, uri: str, shown: str) -> None:
    """Backslashes of Windows become slashes, and no relative path leads out of the root."""
    assert artifact_uri(path) == uri
    assert report_path(path) == shown
    assert uri.startswith("file:///") or ".." not in uri.split("/")


def _finding(content: str, quote: str, suggestion: str, path: str = "a.py") -> dict[str, Any]:
    raw = RawComment(path, quote, 1, 2, "bug", None, "high", None, "t", "m", suggestion)
    return asdict(build_comment(Input("i", content, path=path), "check", 0, raw))


def test_a_fix_has_the_line_endings_of_the_file() -> None:
    """Applying it leaves no mixture behind, whatever the model wrote."""
    for ours, theirs in (("\r\n", "\n"), ("\n", "\r\n")):
        content = ours.join(("a = 1", "y = 2", "z = 3", ""))
        finding = _finding(content, "a = 1\ny = 2", theirs.join(("a = 10", "y = 20")))
        assert fix_of(finding) == (1, 2, f"a = 10{ours}y = 20")


def test_a_fix_in_a_diff_has_the_line_endings_of_its_lines() -> None:
    """The diff's own headers end otherwise."""
    diff = "--- a/a.py\n+++ b/a.py\n@@ -1 +1,2 @@\n+a = 1\r\n y = 2\r\n"
    raw = RawComment("a.py", "a = 1\ny = 2", 1, 2, "bug", None, "low", None, "t", "m", "b\nc")
    assert build_comment(Input("i", diff, "diff"), "check", 0, raw).suggestion == "b\r\nc"


@pytest.mark.parametrize(
    ("quote", "suggestion"), [("s = 'caf\ufffd'\nt", "s = ''\nt"), ("x\nt", "s = 'caf\ufffd'")]
)
def test_replaced_bytes_are_never_written_back(quote: str, suggestion: str) -> None:
    """A fix whose lines hold U+FFFD would change bytes of the file that nobody reviewed."""
    assert fix_of(_finding(f"{quote}\n", quote, suggestion)) is None


@pytest.mark.parametrize("path", ["../a.py", "/etc/a.py", "C:\\a.py", "x/..\\..\\a.py"])
def test_no_fix_outside_the_repository(path: str) -> None:
    """A path that a diff makes up is shown, and not offered to be written to."""
    assert leaves_root(path)
    assert fix_of(_finding("a = 1\ny = 2\n", "a = 1\ny = 2", "b", path)) is None
