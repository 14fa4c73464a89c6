"""What a person has marked as false stays out."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.core.errors import ConfigError
from tasks.review.findings.suppressions import read_suppressions, suppress


def row(name: str, **fields: Any) -> dict[str, Any]:
    """A comment as stored; its cluster is its own."""
    given = {"cluster_id": name, "outcome": "kept", "drop_reason": None, "verdict": {"score": 9}}
    placed = {"comment_id": name, "fingerprint": f"f-{name}", "side": "right", "start_line": 1}
    return {**placed, **given, **fields}


def test_a_known_false_positive_is_dropped() -> None:
    """By its fingerprint, whatever the review said; its verdict stays, and others are untouched."""
    known = read_suppressions([(1, {"fingerprint": "f-a", "reason": "by design", "who": "me"})], "")
    false, true = suppress([row("a"), row("b")], known)
    assert (false["outcome"], false["drop_reason"]) == ("dropped", "suppressed")
    assert false["verdict"] == {"score": 9}
    assert true == row("b")


def test_its_cluster_goes_with_it() -> None:
    """What another check calls the same issue does not take its place."""
    rows = [row("a"), row("b", cluster_id="a"), row("c"), row("d", cluster_id=None)]
    outcomes = [one["outcome"] for one in suppress(rows, {"f-b": ""})]
    assert outcomes == ["dropped", "dropped", "kept", "kept"]


def test_unclustered_comments_are_their_own() -> None:
    """Two comments without a cluster have nothing in common."""
    rows = [row("a", cluster_id=None), row("b", cluster_id=None)]
    assert [one["outcome"] for one in suppress(rows, {"f-a": ""})] == ["dropped", "kept"]


def test_names_of_earlier_versions_still_count() -> None:
    """They had a rank among equal quotes where the code around stands now."""
    kin = "0123456789abcdef"
    rows = [row(str(line), fingerprint=f"{kin}-{line:08x}", start_line=line) for line in (30, 10)]
    outcomes = [one["outcome"] for one in suppress(rows, {f"{kin}-2": ""})]
    assert outcomes == ["dropped", "kept"]
    outcomes = [one["outcome"] for one in suppress(rows, {kin: ""})]
    assert outcomes == ["kept", "dropped"]


@pytest.mark.parametrize(
    "bad",
    [
        {"fingerprint": "f1"},
        {"reason": "x"},
        {"fingerprint": " ", "reason": "x"},
        {"fingerprint": 1, "reason": "x"},
        ["f1", "x"],
        None,
    ],
)
def test_bad_rows_are_named(bad: Any) -> None:
    """The message has file, line and what the line should be."""
    rows = [(1, {"fingerprint": "f1", "reason": ""}), (3, bad)]
    with pytest.raises(ConfigError, match=r'known\.jsonl, line 3: write {"fingerprint"'):
        read_suppressions(rows, "known.jsonl")
