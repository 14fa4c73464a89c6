"""Comparing code and prose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.review.inputs.texts import code_key, count_words, lines_of, shared_words


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("\n", [""]),
        ("a", ["a"]),
        ("a\r\nb\n", ["a", "b"]),
        ("a\n\n", ["a", ""]),
        ("a\fb\u2028c\rd\n", ["a\fb\u2028c\rd"]),
    ],
)
def test_lines(text: str, lines: list[str]) -> None:
    """Only newlines end a line, and the last one starts none."""
    assert lines_of(text) == lines


@given(left=st.text("ab \t\u00a0"), right=st.text("ab \t\u00a0"))
def test_keys(left: str, right: str) -> None:
    """Two lines have one key exactly when they differ in whitespace only."""
    bare = ["".join(c for c in text if c in "ab") for text in (left, right)]
    assert (code_key(left) == code_key(right)) == (bare[0] == bare[1])


@given(left=st.text("ab "), right=st.text("ab "))
def test_similarity_bounds(left: str, right: str) -> None:
    """Similarity is symmetric and between 0 and 1."""
    one, other = count_words(left), count_words(right)
    assert 0 <= shared_words(one, other) == shared_words(other, one) <= 1


@pytest.mark.parametrize(
    ("left", "right", "value"),
    [
        ("Off by one", "off BY one!", 1.0),
        ("a b", "a c", 0.5),
        ("a a b", "a", 0.5),
        ("a", "b", 0.0),
        ("", "", 0.0),
    ],
)
def test_similarity(left: str, right: str, value: float) -> None:
    """Shared words count twice against all words; case and punctuation do not."""
    assert shared_words(count_words(left), count_words(right)) == value
