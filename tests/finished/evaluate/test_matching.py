"""Matching findings to labelled defects."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.records import Comment, Expected, Input
from tasks.finished.evaluate.matching import match

Make = Callable[..., Comment]

SNIPPET = Input("i", "x\n", path="f.py")
DIFF = Input("i", "x\n", "diff", path="f.py")


@pytest.mark.parametrize(
    ("defect", "changes", "matched"),
    [
        ({}, {}, True),
        ({"start_line": 9}, {}, True),
        ({"start_line": 8, "end_line": 9}, {}, True),
        ({"start_line": 8}, {}, False),
        ({"start_line": 11, "end_line": 12}, {}, True),
        ({"start_line": 12}, {}, False),
        ({"start_line": 1, "end_line": 99}, {}, True),
        ({"start_line": None}, {}, True),
        ({"start_line": None}, {"start_line": None, "end_line": None}, True),
        ({}, {"start_line": None, "end_line": None}, False),
        ({"side": "left"}, {}, False),
        ({"path": "g.py"}, {}, False),
        ({"path": "f.py"}, {}, True),
        ({"category": "style", "message": "something else"}, {}, True),
    ],
)
def test_gate(
    comment: Make, defect: dict[str, Any], changes: dict[str, Any], *, matched: bool
) -> None:
    """Path, side and a line's distance apply_policy whether a comment can stand for a defect."""
    label = Expected(**{"start_line": 10, **defect})
    assert match([[comment(**changes)]], [label], DIFF).by_place == ({0: 0} if matched else {})


def test_snippets_have_one_file(comment: Make) -> None:
    """What a label calls a snippet's file does not matter."""
    assert match([[comment()]], [Expected("g.py", 10)], SNIPPET).by_place == {0: 0}


def test_tie_break(comment: Make) -> None:
    """Of two comments at the place, the one that agrees in category and words is taken."""
    style = comment(category="style", title="z", message="z")
    labels = [Expected(None, 10, category="bug", message="loop stops one short")]
    assert match([[style], [comment()]], labels, SNIPPET).by_place == {1: 0}


def test_a_style_remark_beside_an_injection_is_a_hit_by_place_only(comment: Make) -> None:
    """It stands where the defect is and means another one; a comment that means it is a hit by both."""
    label = Expected(
        None, 10, category="security", message="SQL injection: name is put into SQL text."
    )
    remark = comment(category="style", title="Line is too long", message="Break it after the SQL.")
    found = match([[remark]], [label], SNIPPET)
    assert (found.by_place, found.by_place_and_matter) == ({0: 0}, {})
    meant = comment(title="Query built from input", message="The name goes into SQL: an injection.")
    found = match([[remark], [meant]], [label], SNIPPET)
    assert (found.by_place, found.by_place_and_matter) == ({1: 0}, {1: 0})
    # In one group the remark's words are not the other comment's place.
    far = comment(title=meant.title, message=meant.message, start_line=30, end_line=30)
    assert match([[remark, far]], [label], SNIPPET).by_place_and_matter == {}


def test_each_figure_has_its_own_largest_matching(comment: Make) -> None:
    """A pair that agrees in matter is not given up for one more pair by place, nor the other way."""
    labels = [
        Expected(None, 2, message="division by zero items"),
        Expected(None, 1, message="unused variable total"),
    ]
    middle = comment(start_line=1, end_line=1, title="Division by zero", message="No items.")
    end = comment(start_line=3, end_line=3, title="Naming", message="Rename it.")
    found = match([[middle], [end]], labels, SNIPPET)
    assert found.by_place == {0: 1, 1: 0}
    assert found.by_place_and_matter == {0: 0}


def test_a_group_matches_by_any_member(comment: Make) -> None:
    """A finding stands for a defect when one of its comments does."""
    far = comment(start_line=20, end_line=20)
    assert match([[far, comment()]], [Expected(None, 10)], SNIPPET).by_place == {0: 0}


def test_earlier_choices_give_way(comment: Make) -> None:
    """A defect with two candidates leaves the one that another defect needs."""
    findings = [[comment(start_line=line, end_line=line)] for line in (1, 3)]
    assert match(findings, [Expected(None, 2), Expected(None, 1)], SNIPPET).by_place == {0: 1, 1: 0}


LINES = st.lists(st.integers(1, 9), max_size=4)


@given(found=LINES, labelled=LINES)
def test_maximum(comment: Make, found: list[int], labelled: list[int]) -> None:
    """No other one-to-one assignment has more pairs, and each pair is a legal one."""
    findings = [[comment(start_line=line, end_line=line)] for line in found]
    taken = match(findings, [Expected(None, line) for line in labelled], SNIPPET).by_place
    assert len(set(taken.values())) == len(taken)
    assert all(abs(found[one] - labelled[other]) <= 1 for one, other in taken.items())
    padded = found + [-9] * len(labelled)
    best = max(
        sum(abs(line - label) <= 1 for line, label in zip(order, labelled, strict=True))
        for order in permutations(padded, len(labelled))
    )
    assert len(taken) == best
