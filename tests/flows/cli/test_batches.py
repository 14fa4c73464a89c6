"""What an operator does with batches by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.sandbox import Sandbox
from flows.cli.main import main
from tasks.core.errors import RunCancelled
from tests.batch.conftest import CONFIG, Desk, questions


@pytest.fixture
def desk(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A run that was stopped while its batch worked, and its review.toml in this folder."""
    sandbox.control(batch={"seconds": 1000})
    made = Desk(sandbox, tmp_path, tmp_path / "state", [])
    given = {"use": "auto", "min_calls": 1, "batch": "", "app": ""}
    text = CONFIG.format(state=made.state, url=sandbox.base_url, **given)
    (tmp_path / "review.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("K", "sk-batch-a")

    def look() -> None:
        if made.told:
            msg = "cancelled"
            raise RunCancelled(msg)

    with made.rounds(look=look) as rounds, pytest.raises(RunCancelled):
        rounds.ask(made.file(questions(4)))
    return made


def test_list_cancel_and_fetch(
    sandbox: Sandbox, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """The state is the provider's of now; fetch says that it works, then takes what was done."""
    name = desk.told[0][1]
    sandbox.advance(550)
    assert main(["batches", "list"]) == 0
    said = capsys.readouterr().out
    assert name in said
    assert "in_progress" in said
    assert "of 4" in said
    assert main(["batches", "fetch", name]) == 3
    assert main(["batches", "cancel", name]) == 0
    sandbox.advance(5000)
    assert main(["batches", "fetch", name]) == 0
    said = capsys.readouterr().out
    assert "answers are in the journal" in said
    assert 0 < len(desk.unanswered(questions(4))) < 4
    assert sandbox.batch_log()["files"] == []
    assert main(["batches", "cancel", name]) == 2
    assert "nothing to cancel" in capsys.readouterr().err
    assert main(["batches", "fetch", "batch_unknown"]) == 2


def test_a_batch_that_a_run_waits_for_is_not_fetched(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run takes the answers itself."""
    name, codes = desk.told[0][1], []

    def look() -> None:
        if rounds.seen and not codes:
            codes.append(main(["batches", "fetch", name]))
            desk.sandbox.advance(5000)

    with desk.rounds(desk.run("run-2"), look=look) as rounds:
        rounds.ask(desk.file(questions(4)))
    assert codes == [2]
    assert "takes its answers itself" in capsys.readouterr().err
    assert desk.unanswered(questions(4)) == []
