"""What is shown of batches: one line, rows, events; and what a stopped run says."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

import pytest

from flows.batches import display, fill
from flows.batches.display import BatchDisplay, batch_row, line
from flows.ui import events
from flows.ui.progress import on_stage
from tasks.upstream.batches.intents import Intent

BATCH = Intent(
    id="i1",
    run_id="run-1",
    app_id="team-a",
    provider="https://x.test/v1",
    endpoint="https://x.test/v1",
    model="m",
    sha256="00",
    requests=1200,
    prompt_tokens=9,
    created=time.time() - 172_900,
    state="working",
    batch_id="batch_1",
    said="in_progress",
    file_id="file-1",
    done=300,
)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Payloads by event, instead of a server."""
    payloads: dict[str, dict[str, Any]] = {}
    monkeypatch.setattr(
        events, "emit_event", lambda event, *, payload, **_: payloads.update({event: payload})
    )
    monkeypatch.setattr(display, "server_answers", lambda: False)
    return payloads


def test_the_line_has_what_is_waited_for(sent: dict[str, Any]) -> None:
    """Rows of the batches that work, what others have answered, and the age; the same is said once."""
    over = replace(BATCH, id="i2", state="closed", answered=500)
    assert line([BATCH, over]).startswith(
        "waiting for 1 batch, 300 of 1,200 rows done, 500 answered, oldest 48 h"
    )
    assert line([over]) == "500 rows answered by batch"
    said: list[str] = []
    shown = BatchDisplay("run-1", logging.getLogger("test"))
    with on_stage(said.append):
        shown.show([BATCH, over])
        shown.show([BATCH, over])
        shown.show([replace(BATCH, done=400), over])
    assert len(said) == 2
    assert not sent


def test_each_end_is_told(sent: dict[str, dict[str, Any]]) -> None:
    """Events name the batch, its model and app_id, its counts, and the run that handed it in."""
    shown = BatchDisplay("run-2", logging.getLogger("test"))
    for what in ("submitted", "late", "ended"):
        shown.tell(what, BATCH)
    assert list(sent) == [f"bulk-review.batch.{what}" for what in ("submitted", "late", "ended")]
    assert sent["bulk-review.batch.late"] == {
        "run_id": "run-2",
        "batch_id": "batch_1",
        "app_id": "team-a",
        "model": "m",
        "state": "in_progress",
        "requests": 1200,
        "answered": 0,
        "refused": 0,
        "submitted_by": "run-1",
    }


def test_a_row_has_what_an_operator_looks_for() -> None:
    """Ids of batch and files, state in the provider's word, rows done of all, age."""
    row = batch_row(BATCH)
    assert (row["batch"], row["state"], row["done"]) == ("batch_1", "in_progress", "300 of 1,200")
    assert (row["request file"], row["run"]) == ("file-1", "run-1")
    assert row["age"].startswith("48 h")


def test_a_stopped_run_says_what_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """And how to end it; nothing when there is nothing."""
    assert fill.left_working() == ""
    monkeypatch.setattr(fill, "_left", [BATCH])
    said = fill.left_working()
    assert said.startswith("1 batch goes on at the provider (batch_1): the next run takes")
    assert "nightly-review batches cancel ID" in said
