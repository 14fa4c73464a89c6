"""From comments to findings: one per issue, with a place that can be trusted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.core.records import Comment, Verdict
from tasks.review.findings.clusters import cluster
from tasks.review.findings.findings import (
    category_of,
    line_range,
    place_text,
    severity_index,
    title_of,
    worst_first,
)
from tests.factories import comment, findings


def _kept(*comments: Comment) -> list[Comment]:
    return [replace(one, outcome="kept") for one in cluster(comments)]


def test_one_finding_per_cluster() -> None:
    """Three checks that say the same are one finding, and its canonical comment speaks."""
    same = _kept(*(comment(check_model=name) for name in ("large", "mini", "other")))
    other = _kept(comment(line=7, title="File is never closed", category="other"))
    shown = findings(*same, *other).shown
    assert [one["start_line"] for one in shown] == [2, 7]
    assert shown[0]["comment_id"] == shown[0]["cluster_id"]
    assert shown[0]["agreement"] == 3


def test_a_dropped_canonical_comment_hides_no_other() -> None:
    """When the cluster's canonical comment was dropped, the best of the kept ones speaks."""
    one, two = _kept(comment(check_model="large"), comment(check_model="mini"))
    canonical = one if one.comment_id == one.cluster_id else two
    left = two if canonical is one else one
    gone = replace(canonical, outcome="dropped", drop_reason="rejected")
    assert [row["comment_id"] for row in findings(gone, left).shown] == [left.comment_id]


def test_a_kept_comment_speaks_before_an_unverified_one() -> None:
    """What was judged stands for the cluster, even when the canonical comment was not."""
    one, two = _kept(comment(check_model="large"), comment(check_model="mini"))
    canonical = one if one.comment_id == one.cluster_id else two
    other = two if canonical is one else one
    shown = findings(replace(canonical, outcome="unverified"), other).shown
    assert [row["outcome"] for row in shown] == ["kept"]


def test_suppressed_and_dropped_are_told_apart() -> None:
    """A known false positive is listed as suppressed, a rejected comment nowhere."""
    suppressed = replace(comment(line=1), outcome="dropped", drop_reason="suppressed")
    rejected = replace(comment(line=5), outcome="dropped", drop_reason="rejected")
    found = findings(suppressed, rejected)
    assert found.shown == ()
    assert [row["start_line"] for row in found.suppressed] == [1]


@pytest.mark.parametrize(
    ("own", "of_input", "expected"),
    [
        ("./src/a.py", "x.py", "src/a.py"),
        (None, "././x.py", "x.py"),
        (None, None, "a"),
        (".//", "x.py", "."),
        ("/abs/a.py", None, "/abs/a.py"),
    ],
)
def test_every_finding_has_a_path(own: str | None, of_input: str | None, expected: str) -> None:
    """The comment's path, else the input's, else the input's id; never with ./ in front."""
    shown = findings(comment(path=own), path=of_input).shown
    assert [one["path"] for one in shown] == [expected]


def test_lines_are_those_of_the_new_file() -> None:
    """A removed line or no line at all is no place in the new file, and people are told so."""
    shown = findings(
        comment(line=9, side="left", comment_id="a"),
        comment(start_line=None, end_line=None, loc_method="unanchored", comment_id="b"),
        comment(line=3, end_line=5, comment_id="c"),
        comment(line=4, comment_id="d"),
    ).shown
    places = {one["comment_id"]: (line_range(one), place_text(one)) for one in shown}
    assert places == {
        "a": (None, "removed line 9"),
        "b": (None, "no line"),
        "c": ((3, 5), "lines 3-5"),
        "d": ((4, 4), "line 4"),
    }


def test_worst_first_orders_by_severity_then_score_then_agreement() -> None:
    """Severity decides, then the reviewer's score, then how many checks agree."""

    def judged(name: str, severity: str, score: int, agreement: int = 1) -> Comment:
        verdict = Verdict("r", "ok", "confirmed", score)
        line = ord(name)
        return comment(
            comment_id=name, severity=severity, verdict=verdict, agreement=agreement, line=line
        )

    rows = findings(
        judged("a", "low", 10), judged("b", "high", 6, 2), judged("c", "high", 9), judged("d", "high", 6)
    ).shown  # fmt: skip
    assert [one["comment_id"] for one in sorted(rows, key=worst_first)] == ["c", "b", "d", "a"]


def test_unknown_words_fail_open() -> None:
    """A category or severity of a newer version is shown, as the mildest of its kind."""
    (row,) = findings(comment(category="accessibility", severity="blocker")).shown
    assert (category_of(row), severity_index(row)) == ("other", 3)


def test_title_is_one_short_line_and_marks_what_was_not_judged() -> None:
    """Line breaks go, length is bounded, and a missing verdict shows."""
    (row,) = findings(comment(title="a\nb " + "x" * 200, outcome="unverified")).shown
    assert title_of(row).startswith("[unverified] a b x")
    assert len(title_of(row)) <= 80 + len("[unverified] ")
    (row,) = findings(comment(title="", message="Only a message.", outcome="kept")).shown
    assert title_of(row) == "Only a message."
