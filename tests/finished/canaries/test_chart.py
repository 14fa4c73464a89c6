"""When a reviewer's nights tell of a change, and when they do not."""

from __future__ import annotations

import random
from math import comb
from statistics import NormalDist

import pytest

from tasks.finished.canaries.chart import Counted, q_value, told_now

STEADY = [Counted(bad, 7) for bad in (1, 2, 1, 0, 2, 1, 3, 1, 1, 2)]


def month(rng: random.Random, *rates: float) -> list[Counted]:
    """Nights of seven canaries that go wrong at these rates."""
    return [Counted(sum(rng.random() < rate for _ in range(7)), 7) for rate in rates]


def first_told(nights: list[Counted]) -> int | None:
    """The first night, from 1, that tells of a change."""
    return next((n for n in range(1, len(nights) + 1) if told_now(nights[:n])), None)


def test_a_night_is_measured_by_fishers_exact_test() -> None:
    """5 of 7 wrong after 8 of 40: the hypergeometric tail, in the middle of its first term."""
    terms = [comb(13, wrong) * comb(34, 7 - wrong) / comb(47, 7) for wrong in (5, 6, 7)]
    wanted = NormalDist().inv_cdf(1 - (sum(terms) - terms[0] / 2))
    assert q_value(Counted(5, 7), Counted(8, 40)) == pytest.approx(wanted)
    assert q_value(Counted(0, 7), Counted(0, 40)) == 0


def test_steady_nights_tell_of_nothing() -> None:
    """What comes and goes by chance is no change."""
    assert first_told(STEADY) is None


def test_a_fall_is_told_with_its_counts() -> None:
    """Since when, of how many, against how many before."""
    nights = [*STEADY, *(Counted(5, 7) for _ in range(4))]
    assert first_told(nights) == 13
    change = told_now(nights[:13])
    assert change is not None
    # The tenth night, a bit worse than usual, is where the sum began.
    assert (change.nights, change.since) == (4, Counted(17, 28))
    assert change.before == Counted(12, 63)
    assert change.score > 5.5


def test_one_bad_night_alone_is_no_change() -> None:
    """Four of seven happen."""
    assert told_now([*STEADY, Counted(4, 7)]) is None


def test_it_is_told_once_and_then_measured_anew() -> None:
    """The night after has to show it again: the chart begins at 0."""
    nights = [*STEADY, *(Counted(5, 7) for _ in range(3))]
    assert told_now(nights) is not None
    assert told_now([*nights, Counted(5, 7)]) is None


def test_nights_without_a_canary_change_nothing() -> None:
    """A night in which the model did not answer says nothing of it."""
    nights = [*STEADY, *(Counted(5, 7) for _ in range(2)), Counted(), Counted(5, 7)]
    assert told_now(nights) is not None
    assert told_now([*nights, Counted()]) is None


def test_the_first_nights_are_no_measure() -> None:
    """With fewer than 20 canaries before it, a night is not judged."""
    assert told_now([Counted(0, 6), Counted(0, 6), Counted(6, 6), Counted(6, 6)]) is None


def test_a_model_that_gets_better_is_not_told() -> None:
    """The chart has one side."""
    assert (
        first_told([*(Counted(4, 7) for _ in range(10)), *(Counted(0, 7) for _ in range(10))])
        is None
    )


def test_a_month_with_a_fall_on_day_20() -> None:
    """Recall 0.8 to 0.5 with 7 defects a night: nine months of ten are told of it, half within 6 nights.

    Of months without a change one in a hundred is. The same dice every time.
    """
    rng = random.Random(20)
    told = [first_told(month(rng, *[0.2] * 19, *[0.5] * 11)) for _ in range(100)]
    late = sorted(one for one in told if one is not None and one >= 20)
    assert len(late) >= 85
    assert late[len(late) // 2] - 19 <= 6
    still = [first_told(month(rng, *[0.2] * 30)) for _ in range(100)]
    assert sum(one is not None for one in still) <= 3
