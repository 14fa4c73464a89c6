"""Clusters of comments about one issue."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import CATEGORIES, SEVERITIES, Comment, Verdict
from tasks.review.findings import clusters
from tasks.review.findings.clusters import cluster, rank

Make = Callable[..., Comment]

FIELDS = st.fixed_dictionaries(
    {
        "check_model": st.sampled_from("abc"),
        "start_line": st.none() | st.integers(1, 8),
        "category": st.sampled_from(CATEGORIES[:2]),
        "severity": st.sampled_from(SEVERITIES),
        "title": st.sampled_from(["Off by one", "Off by two", "Leaks a handle"]),
        "message": st.sampled_from(["The loop stops short.", "Never closed.", "x"]),
        "existing_code": st.sampled_from([None, "x = 1", "x  =  1", "y = 2"]),
        "rationale": st.none() | st.text(max_size=3),
        "suggestion": st.none() | st.just("x"),
    }
)


def groups(comments: tuple[Comment, ...]) -> set[frozenset[str]]:
    """The clusters as sets of ids."""
    ids = {c.cluster_id for c in comments}
    return {frozenset(c.comment_id for c in comments if c.cluster_id == i) for i in ids}


def build(make: Make, rows: list[dict[str, Any]]) -> list[Comment]:
    """One comment per row, with ids in their order."""
    return [
        make(comment_id=f"c{at}", end_line=row["start_line"], **row) for at, row in enumerate(rows)
    ]


@given(rows=st.lists(FIELDS, max_size=7), seed=st.integers(0, 9))
def test_order_does_not_matter(comment: Make, rows: list[dict[str, Any]], seed: int) -> None:
    """Shuffled comments get the same clusters, and a second pass changes nothing."""
    comments = build(comment, rows)
    clustered = cluster(comments)
    shuffled = random.Random(seed).sample(comments, len(comments))
    assert sorted(cluster(shuffled), key=lambda one: one.comment_id) == list(clustered)
    assert cluster(clustered) == clustered
    assert [c.comment_id for c in clustered] == [c.comment_id for c in comments]


@given(rows=st.lists(FIELDS, max_size=7))
def test_members_are_linked(comment: Make, rows: list[dict[str, Any]]) -> None:
    """Members agree on the best member's id and on the checks, and keep their text."""
    comments = build(comment, rows)
    for before, after in zip(comments, cluster(comments), strict=True):
        members = [c for c in cluster(comments) if c.cluster_id == after.cluster_id]
        assert after.cluster_id == min(members, key=rank).comment_id
        assert after.check_models == tuple(sorted({c.check_model for c in members}))
        assert after.agreement == len(after.check_models)
        assert (after.title, after.message) == (before.title, before.message)
        assert len({(c.path, c.side, c.start_line is None) for c in members}) == 1


@pytest.mark.parametrize(
    ("changes", "joined"),
    [
        ({}, True),
        ({"start_line": 11, "end_line": 12}, True),
        ({"start_line": 12, "end_line": 12}, False),
        ({"start_line": 5, "end_line": 9}, True),
        ({"start_line": 5, "end_line": 50}, True),
        ({"path": "g.py"}, False),
        ({"side": "left"}, False),
        ({"category": "style"}, True),
        ({"category": "style", "existing_code": "y"}, True),
        ({"category": "style", "existing_code": "y", "title": "z", "message": "z"}, False),
        ({"category": "style", "title": "z", "message": "z"}, True),
        ({"existing_code": "y", "title": "z", "message": "z"}, True),
        ({"start_line": None, "end_line": None}, False),
    ],
)
def test_two_checks(comment: Make, changes: dict[str, Any], *, joined: bool) -> None:
    """Two checks' comments are one issue at one place with one category, text or quote."""
    other = comment(comment_id="c2", check_model="b", **changes)
    assert len(groups(cluster([comment(), other]))) == (1 if joined else 2)


def test_one_check_means_two_issues(comment: Make) -> None:
    """One check's comments on neighbouring lines stay apart, also when another check links them."""
    first = comment(comment_id="1")
    second = comment(
        comment_id="2", start_line=11, end_line=11, title="z", message="z", existing_code="y"
    )
    between = comment(comment_id="3", check_model="b")
    assert groups(cluster([first, second])) == {frozenset("1"), frozenset("2")}
    assert groups(cluster([first, second, between])) == {frozenset("13"), frozenset("2")}


def test_the_strongest_link_goes_first(comment: Make) -> None:
    """Between two issues of one check, another check's comment joins the one it resembles."""
    first = comment(comment_id="1", title="z", message="z", existing_code="y")
    second = comment(comment_id="2", start_line=11, end_line=11)
    other = comment(comment_id="3", check_model="b", start_line=10, end_line=11)
    assert groups(cluster([first, second, other])) == {frozenset("1"), frozenset("23")}


def test_ties_are_settled_by_id(comment: Make) -> None:
    """Equally strong links give the same clusters from every order."""
    trio = [
        comment(
            comment_id=name,
            check_model=check,
            start_line=line,
            end_line=line,
            existing_code=name,
            title=name,
            message=name,
        )
        for name, check, line in [("1", "a", 9), ("2", "a", 11), ("3", "b", 10)]
    ]
    for order in permutations(trio):
        assert groups(cluster(order)) == {frozenset("13"), frozenset("2")}


def test_one_check_repeating_itself(comment: Make) -> None:
    """The same comment twice from one check is one issue, raised by one check."""
    one, other = cluster([comment(), comment(comment_id="c2")])
    assert one.cluster_id == other.cluster_id
    assert one.agreement == 1


def test_unanchored_comments_join_by_text(comment: Make) -> None:
    """Without lines only the words or the quote can link, not the category alone."""
    nowhere: dict[str, Any] = {"start_line": None, "end_line": None}
    one = comment(**nowhere)
    same = comment(comment_id="c2", check_model="b", **nowhere)
    other = comment(
        comment_id="c3", check_model="c", title="z", message="z", existing_code="y", **nowhere
    )
    assert groups(cluster([one, same, other])) == {frozenset({"c1", "c2"}), frozenset({"c3"})}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"score": 9}, {"score": 3, "severity": "critical"}),
        ({"score": 0}, {"score": None}),
        ({"severity": "high"}, {"severity": "low", "suggestion": "x"}),
        ({"suggestion": "x"}, {"rationale": "long"}),
        ({"rationale": "longer"}, {"rationale": "long"}),
    ],
)
def test_canonical(
    comment: Make, verdict: Callable[..., Verdict], better: dict[str, Any], worse: dict[str, Any]
) -> None:
    """Score, severity, suggestion and rationale apply_policy, in this order."""

    def make(name: str, fields: dict[str, Any]) -> Comment:
        given_verdict = verdict(score=fields.get("score"))
        rest = {key: value for key, value in fields.items() if key != "score"}
        return comment(comment_id=name, check_model=name, verdict=given_verdict, **rest)

    clustered = cluster([make("a", worse), make("b", better)])
    assert {c.cluster_id for c in clustered} == {"b"}


def test_many_comments_are_compared_with_their_neighbours_only(
    comment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 2,000 comments on as many lines no text is read; of pairs each is, once, and far ones are not compared."""
    counted = Counter[str]()

    def count(name: str) -> None:
        real = getattr(clusters, name)

        def counting(*given: Any) -> Any:
            counted[name] += 1
            return real(*given)

        monkeypatch.setattr(clusters, name, counting)

    count("count_words")
    count("shared_words")
    rows = [
        comment(comment_id=f"c{at}", start_line=at * 3, end_line=at * 3, check_model="ab"[at % 2])
        for at in range(1, 2001)
    ]
    found = cluster(rows)
    assert len({one.cluster_id for one in found}) == 2000
    assert counted == {}
    pairs = [
        comment(
            comment_id=f"c{at}",
            start_line=at // 2 * 3,
            end_line=at // 2 * 3,
            check_model="ab"[at % 2],
        )
        for at in range(2000)
    ]
    cluster(pairs)
    assert counted["count_words"] == 2000
    assert counted["shared_words"] <= 2000
