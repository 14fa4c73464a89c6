"""Fingerprints that outlive edits."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import Comment
from tasks.review.places.fingerprints import fingerprint, with_ordinals


@given(indent=st.text(" \t", max_size=8), tail=st.text(" \t\r", max_size=4))
def test_layout_does_not_count(indent: str, tail: str) -> None:
    """Moving and reindenting code leaves its fingerprint as it is."""
    assert fingerprint("f", "bug", f"{indent}x = 1{tail}") == fingerprint("f", "bug", "x = 1")


def test_path_category_and_code_count() -> None:
    """Each part tells findings apart, and parts do not run into each other."""
    names = {
        fingerprint("f", "bug", "x = 1"),
        fingerprint("g", "bug", "x = 1"),
        fingerprint("f", "style", "x = 1"),
        fingerprint("f", "bug", "x = 2"),
        fingerprint("f", "bugx", "= 1"),
        fingerprint(None, "bug", None),
    }
    assert len(names) == 6


def test_surrogates() -> None:
    """A quote that is no valid Unicode still has a fingerprint."""
    assert len(fingerprint("f", "bug", "\ud800")) == 16


def test_ordinals_by_place(comment: Callable[..., Comment]) -> None:
    """Equal code at several places is told apart by order, equal places are one finding."""
    lines = [(30, "a"), (10, "a"), (10, "b"), (20, "a")]
    comments = [
        comment(comment_id=str(at), start_line=line, check_model=check)
        for at, (line, check) in enumerate(lines)
    ]
    named = with_ordinals(comments)
    assert [one.fingerprint for one in named] == ["f1-3", "f1", "f1", "f1-2"]
    assert with_ordinals(named) == named
