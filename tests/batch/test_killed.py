"""kill -9 at every point of a batch: the next run loses nothing, pays nothing twice, orphans nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from deployments.sandbox import Sandbox
from tasks.upstream.batches.store import open_batches
from tests.batch.conftest import Desk, questions
from tests.batch.killed import POINTS, QUESTIONS, REVIEWS
from tests.runs import await_condition

SHORT = ("between create and save", "half way through the output file")
"""Those of every `make test`; the others are in `make chaos`."""


def killed(desk: Desk, point: str) -> subprocess.Popen[bytes]:
    """A run of its own process."""
    arguments = [point, desk.sandbox.base_url, str(desk.folder), str(desk.state)]
    return subprocess.Popen([sys.executable, "-m", "tests.batch.killed", *arguments])


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, marks=() if point in SHORT else pytest.mark.chaos, id=point)
        for point in POINTS
    ],
)
def test_killed_at(sandbox: Sandbox, desk: Desk, point: str) -> None:
    """One row of the first batch fails, so that it has two files; the rerun asks that one again."""
    sandbox.control(batch={"seconds": 0, "script": [{"fault": "rows_429", "times": 1, "count": 1}]})
    assert killed(desk, point).wait(60) == -signal.SIGKILL
    asked = [*questions(QUESTIONS), *questions(REVIEWS, "r")]
    desk.ask_all(asked, desk.run("run-2"))

    assert desk.unanswered(asked) == []
    assert sandbox.bill()["questions_twice"] == 0
    seen = sandbox.batch_log()
    assert {one["state"] for one in seen["batches"]} == {"completed"}
    with open_batches(desk.run().batches) as store:
        assert store.open() == []
        known = {one.batch_id for one in store.all()}
    assert {one["id"] for one in seen["batches"]} <= known
    # What an upload has left that nobody knows of costs nothing, and goes by itself.
    assert len(seen["files"]) == (1 if point == "after the upload" else 0)


@pytest.mark.chaos
def test_killed_on_a_database(sandbox: Sandbox, desk: Desk, database: str) -> None:
    """The same where several machines share the state: its claims go with the killed one's session."""
    desk.state = database
    assert killed(desk, "between create and save").wait(60) == -signal.SIGKILL
    asked = questions(QUESTIONS)
    desk.ask_all(asked, desk.run("run-2"))
    assert desk.unanswered(asked) == []
    assert sandbox.stats()["batches"]["made"] == 1
    assert sandbox.bill()["questions_twice"] == 0


def test_a_run_takes_over_from_one_that_is_killed_beside_it(sandbox: Sandbox, desk: Desk) -> None:
    """It has waited for the other's batch, and reads it when the other is gone: one batch in all."""
    sandbox.control(batch={"seconds": 1000})
    first = killed(desk, "never")
    await_condition(lambda: sandbox.stats()["batches"]["made"] == 1, "the first run's batch")
    asked = questions(QUESTIONS)

    def second() -> None:
        with desk.rounds(desk.run("run-2")) as rounds:
            rounds.ask(desk.file(asked))

    thread = threading.Thread(target=second)
    thread.start()
    first.kill()
    first.wait(20)
    sandbox.advance(5000)
    thread.join(30)
    assert not thread.is_alive()
    assert desk.unanswered(asked) == []
    assert sandbox.stats()["batches"]["made"] == 1
    assert sandbox.bill()["questions_twice"] == 0
