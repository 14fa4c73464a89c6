"""Two runs of the same inputs: which differences are told, and how often chance is taken for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tasks.core.records import CallRow, Comment, Expected, Input, InputReview
from tasks.finished.evaluate.comparison import _differences, compare, comparison_table
from tasks.review.findings.clusters import cluster

Make = Callable[..., Comment]
CODE = "".join(f"line {at}\n" for at in range(1, 61))
DEFECT = Expected(None, 10, 10, category="bug")


def run(make: Make, found: set[int], alarms: set[int], tokens: int = 10) -> Any:
    """40 inputs with a defect each: `found` names those that have it found, `alarms` those with a false finding."""
    for number in range(40):
        lines = [10] * (number in found) + [30] * (number in alarms)
        comments = [
            make(
                comment_id=f"{number}-{line}",
                start_line=line,
                end_line=line,
                existing_code=f"line {line}",
            )
            for line in lines
        ]
        name = f"i{number:02}"
        call = CallRow(name, "check", "a", 0, "m", "ok", input_tokens=tokens)
        yield (
            Input(name, CODE, expected=(DEFECT,)),
            InputReview(name, "complete", None, tuple(cluster(comments)), (call,)),
        )


def test_a_difference_is_told_with_its_interval(comment: Make) -> None:
    """30 of 40 against 20 of the same 40 is beyond chance; the figures are those of both runs."""
    wide, narrow = run(comment, set(range(30)), set(), 25), run(comment, set(range(20)), set())
    found = compare(wide, narrow)
    recall = found.figures["by_place"]["recall"]
    assert (found.inputs, found.left_out, found.tokens) == (40, 0, (1000, 400))
    assert (recall.this, recall.other, recall.value) == (0.75, 0.5, 0.25)
    assert recall.low is not None
    assert recall.high is not None
    assert 0.1 < recall.low < 0.25 < recall.high < 0.4
    assert recall.is_beyond_chance
    precision = found.figures["by_place"]["precision"]
    assert (precision.value, precision.low, precision.high) == (0, 0, 0)
    assert not precision.is_beyond_chance
    table = comparison_table(found, {"this": "with", "other": "without"})
    assert ("recall %, by place", "50.0", "75.0", "+25.0", *table.rows[1][4:]) == table.rows[1]
    assert table.rows[1][5] == "yes"
    assert table.rows[-1][1:4] == (400, 1000, "+600")


def test_pairing_sees_what_two_intervals_do_not(comment: Make) -> None:
    """Six more of the same inputs found is told, although 20 and 26 of 40 have intervals that overlap."""
    found = compare(run(comment, set(range(26)), set()), run(comment, set(range(20)), set()))
    assert found.figures["by_place"]["recall"].is_beyond_chance


def test_only_common_inputs_count(comment: Make) -> None:
    """An input of one run alone, or with other labels there, is left out and counted."""
    this, other = list(run(comment, {1}, set())), list(run(comment, {1}, set()))[2:]
    source, review = other[0]
    other[0] = (Input(source.input_id, CODE, expected=()), review)
    found = compare(this, other)
    assert (found.inputs, found.left_out) == (37, 3)
    assert compare(this, []).inputs == 0


def test_a_share_that_is_unknown_has_no_difference(comment: Make) -> None:
    """A run without findings has no precision; recall it has."""
    found = compare(run(comment, set(), set()), run(comment, {1, 2}, {3}))
    assert found.figures["by_place"]["precision"].value is None
    assert found.figures["by_place"]["recall"].value == pytest.approx(-0.05)


def test_chance_is_rarely_taken_for_a_difference() -> None:
    """Of 200 pairs of runs that are equally good, about 1 in 20 is told as different; few more are."""
    random = np.random.default_rng(7)
    told = 0
    for _ in range(200):
        hard = random.random(60)  # inputs differ in difficulty, for both runs alike
        hits = random.random((2, 60)) < hard
        counts = np.stack([hits[0], hits[0] * 0, ~hits[0], hits[1], hits[1] * 0, ~hits[1]], axis=1)
        told += _differences(counts.astype(float), 0)["recall"].is_beyond_chance
    assert told <= 22
