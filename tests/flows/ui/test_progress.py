"""The end of a run, told while it runs."""

from __future__ import annotations

from flows.ui.progress import Status
from tasks.infer.progress import Tally


def _least(calls: int) -> float:
    return 60.0 * max(0, -(-calls // 30) - 1)


def test_the_first_burst_does_not_promise_too_much() -> None:
    """30 calls in 2 s are a window's worth: 270 more take nine windows, not 18 s."""
    status = Status(300, Tally(cells=30, calls=30), 2.0, _least)
    assert status.remaining == 9 * 60 - 2
    assert Status(300, Tally(cells=30, calls=30), 2.0).remaining == 18


def test_a_pace_below_the_quota_is_believed() -> None:
    """When calls are slower than their quota, the pace so far tells the end."""
    assert Status(300, Tally(cells=100, calls=100), 1000.0, _least).remaining == 2000


def test_answers_of_the_journal_need_no_quota() -> None:
    """A rerun that the journal answers is not held up by windows."""
    assert Status(300, Tally(cells=150, journaled=150), 1.0, _least).remaining == 1


def test_nothing_is_said_before_the_first_answer() -> None:
    """No answer, no estimate."""
    assert Status(300, Tally(), 5.0, _least).remaining is None
    assert Status(300, Tally(calls=30), 5.0, _least).remaining == 9 * 60 - 5
