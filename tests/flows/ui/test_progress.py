"""The end of a run, told while it runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.ui.progress import Monitor, Status, on_progress
from tasks.core.paths import ShardPaths
from tasks.infer.progress import Progress, Reporter, Tally


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


def test_counts_that_cannot_be_written_cost_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The shard's folder is gone: said once, and the shard goes on to its end."""
    folder = tmp_path / "shard-000"
    folder.mkdir()
    reporter = Reporter(Progress(), folder / "progress.json", every=0.01)
    with reporter:
        shutil.rmtree(folder)
    assert caplog.text.count("progress is not shown for now") == 1


def test_a_bar_that_fails_costs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A terminal that went away, say: said once, and the run goes on."""

    def show(_: Status) -> None:
        raise BrokenPipeError

    with on_progress(show), Monitor([ShardPaths(tmp_path / "shard-000")], 4, every=0.01):
        pass
    assert caplog.text.count("progress is not shown for now: BrokenPipeError") == 1
