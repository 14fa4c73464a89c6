"""Progress that cannot be written or shown: it is a display, and costs no run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from flows.ui.progress import Monitor, on_progress
from flows.ui.status import Status
from tasks.core.paths import ShardPaths
from tasks.infer.progress import Progress, reporting


class _NoWaits:
    def holds(self) -> Mapping[str, float]:
        return {}

    def words(self) -> str:
        return ""


def _least(_calls: int, _holds: Mapping[str, float]) -> float:
    return 0.0


def test_counts_that_cannot_be_written_cost_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The shard's folder is gone: said once, and the shard goes on to its end."""
    folder = tmp_path / "shard-000"
    folder.mkdir()
    with reporting(Progress(), folder / "progress.json", every=0.01):
        shutil.rmtree(folder)
    assert caplog.text.count("writing the progress failed (OutputError") == 1


def test_a_bar_that_fails_costs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A terminal that went away, say: said once, and the run goes on."""

    def show(_: Status) -> None:
        raise BrokenPipeError

    with (
        on_progress(show),
        Monitor([ShardPaths(tmp_path / "shard-000")], 4, 1, _least, _NoWaits(), every=0.01),
    ):
        pass
    assert caplog.text.count("showing the progress failed (BrokenPipeError") == 1
