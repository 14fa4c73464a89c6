"""Calls made, calls to come and the end of a run, told while it runs."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from flows.ui.status import Status
from tasks.infer.progress import Tally

WAITS = "waiting for quota, next send 19:39:08; team-a held until 23:40:00: Limit of 50 per day"


def _least(calls: int, holds: Mapping[str, float]) -> float:
    return max(holds.values(), default=0.0) + 60.0 * max(0, -(-calls // 30) - 1)


def _tally(asked: int, **more: int) -> Tally:
    """So many inputs of one call each that are through."""
    return Tally(**{"inputs": asked, "asked": asked, "settled": asked, "calls": asked} | more)


def test_the_first_burst_does_not_promise_too_much() -> None:
    """30 calls in 2 s are a window's worth: 270 more take nine windows, not 18 s."""
    assert Status(300, 1, _tally(30), 2.0, _least).remaining == 9 * 60 - 2
    assert Status(300, 1, _tally(30), 2.0).remaining == 18


def test_a_pace_below_the_quota_is_believed() -> None:
    """When calls are slower than their quota, the pace so far tells the end."""
    assert Status(300, 1, _tally(100), 1000.0, _least).remaining == 2000


def test_answers_of_the_journal_need_no_quota() -> None:
    """A rerun that the journal answers is not held up by windows."""
    tally = _tally(150, calls=0, journaled=150)
    assert Status(300, 1, tally, 1.0, _least).remaining == 1


def test_nothing_is_said_before_the_first_answer() -> None:
    """No answer and no hold, no time left."""
    assert Status(300, 1, Tally(), 5.0, _least).remaining is None


def test_calls_count_and_not_whole_inputs() -> None:
    """37 % of the calls are made and no input is through: the bar shows 37 %, the end follows them."""
    status = Status(100, 4, Tally(asked=148, calls=148), 148.0)
    assert status.share == pytest.approx(0.37)
    assert status.remaining == 252


def test_inputs_that_are_through_tell_of_the_others() -> None:
    """Diffs of three parts take three times the calls that were planned; the end is the end."""
    tally = Tally(inputs=90, asked=1080, settled=1080)
    assert Status(100, 4, tally, 10.0).calls == pytest.approx(1080 + 10 * 12, abs=10)
    assert Status(90, 4, tally, 10.0).share == 1.0
    assert Status(91, 1, Tally(inputs=90, asked=500, settled=90), 10.0).share < 1.0


def test_a_hold_is_part_of_the_time_left() -> None:
    """A key that comes back in an hour: no earlier end, also before the first answer."""
    holds = {"a": 3600.0}
    assert Status(30, 1, Tally(), 1.0, _least, holds).remaining == 3600
    assert Status(30, 1, _tally(10), 1.0, _least, holds).remaining == 3600


@pytest.mark.parametrize("width", [300, 120, 80, 60, 40, 20, 12])
def test_the_time_left_is_the_last_to_go(width: int) -> None:
    """Whatever the width, the line fits it; what is told for longest is when it ends."""
    tally = Tally(inputs=120, asked=480, settled=480, calls=470, lost=10, journaled=9, queue=300.0)
    status = Status(100_000, 4, tally, 600.0, waits=WAITS)
    line = status.line(width)
    assert len(line) <= width
    assert " left" in line or width < len("138 h 43 min left")
    assert ("held until" in line) == (width >= 120)
    assert ("next send 19:39:08" in line) == (width >= 60)


def test_a_run_that_is_through_has_no_time_left() -> None:
    """The last line has counts and no end to come."""
    assert Status(30, 1, _tally(30), 5.0, _least).line() == (
        "30 of 30 calls, 30 of 30 inputs, 360 calls/min, 0.0 s quota wait per call"
    )


def test_tools_are_no_calls() -> None:
    """Inputs that only tools look at have no calls to count: the share is that of the inputs."""
    status = Status(8, 0, Tally(inputs=2, cells=2), 5.0, _least)
    assert (status.share, status.remaining) == (0.25, None)
    assert status.line() == "2 of 8 inputs"
