"""New, recurring, gone, and suppressed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tasks.core.errors import RowError
from tasks.core.history import History, age_of, compare, read_suppressions, suppress
from tasks.core.records import Comment


def test_two_runs() -> None:
    """Findings are sorted into new, recurring and gone."""
    before = {"b": "f.py", "c": "f.py"}
    assert compare(["a", "b", "b"], before, None) == History(("a",), ("b",), ("c",), ())


def test_unreviewed_files() -> None:
    """A finding is gone only when its file was reviewed again."""
    before = {"a": "f.py", "b": "g.py", "c": None}
    assert compare([], before, {"f.py"}) == History((), (), ("a",), ("b", "c"))


def test_age(comment: Callable[..., Comment]) -> None:
    """A comment recurs when its fingerprint was there."""
    assert age_of(comment(), {"f1"}) == "recurring"
    assert age_of(comment(), {"f1-2"}) == "new"


def test_suppressions(comment: Callable[..., Comment]) -> None:
    """A known false positive is dropped by fingerprint, and nothing else changes."""
    known = read_suppressions([{"fingerprint": "f1", "reason": "by design", "who": "me"}])
    false, true = comment(outcome="kept"), comment(fingerprint="f2", outcome="kept")
    dropped, kept = suppress([false, true], known)
    assert (dropped.outcome, dropped.drop_reason) == ("dropped", "suppressed")
    assert kept == true


@pytest.mark.parametrize(
    "row",
    [
        {"fingerprint": "f1"},
        {"reason": "x"},
        {"fingerprint": " ", "reason": "x"},
        {"fingerprint": 1, "reason": "x"},
        ["f1", "x"],
        None,
    ],
)
def test_bad_suppressions(row: Any) -> None:
    """A broken row is named by its number and told what it lacks."""
    good = {"fingerprint": "f1", "reason": ""}
    with pytest.raises(RowError, match=r"row 2: needs the texts `fingerprint` and `reason`"):
        read_suppressions([good, row])
