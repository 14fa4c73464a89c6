"""Progress that cannot be written or shown: it is a display, and costs no run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from flows.ui import progress
from flows.ui.progress import Monitor, on_progress
from flows.ui.status import Status
from tasks.core.files import write_json
from tasks.core.paths import ShardPaths
from tasks.infer.progress import Progress, Tally, reporting
from tests.runs import await_condition


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


def test_a_bar_that_fails_costs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that went away, say: said once, and the run goes on."""
    monkeypatch.setattr(progress, "server_answers", lambda: False)

    def show(_: Status) -> None:
        raise BrokenPipeError

    with (
        on_progress(show),
        Monitor([ShardPaths(tmp_path / "shard-000")], 4, 1, _least, _NoWaits(), every=0.01),
    ):
        pass
    assert caplog.text.count("showing the progress failed (BrokenPipeError") == 1


def test_the_bar_in_the_ui_changes_only_when_there_is_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each update is an event on the server: none while nothing happens, and whole per cents."""
    drawn: list[float] = []

    def create(percent: float, **_: object) -> UUID:
        drawn.append(percent)
        return uuid4()

    def update(_: UUID, percent: float, **__: object) -> None:
        drawn.append(percent)

    monkeypatch.setattr(progress, "server_answers", lambda: True)
    monkeypatch.setattr(progress, "create_progress_artifact", create)
    monkeypatch.setattr(progress, "update_progress_artifact", update)
    shard = ShardPaths(tmp_path)
    looked = 0

    def look() -> str:
        nonlocal looked
        looked += 1
        return ""

    with Monitor([shard], 3, 1, _least, _NoWaits(), spent=look, every=0.005, artifact_every=0):
        await_condition(lambda: looked > 10, "looks")
        write_json(shard.progress, asdict(Tally(inputs=1, cells=1, asked=1, settled=1, calls=1)))
        seen = looked
        await_condition(lambda: looked > seen + 10, "more looks")

    assert drawn == [0, 33]
