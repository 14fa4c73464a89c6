"""Batches where people look: the terminal's line, a table artifact in Prefect's UI, its events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from prefect.artifacts import create_table_artifact

from flows.ui.events import batch_ended, batch_late, batch_submitted
from flows.ui.progress import stage
from tasks.estimate.loads import duration
from tasks.report.server_health import server_answers
from tasks.upstream.batches.intents import Intent

__all__ = ["BatchDisplay", "batch_row", "line"]

_STILL = 300.0
"""Seconds after which a line is said again that has not changed but for its age."""

_ARTIFACT_EVERY = 60.0
"""Seconds between two versions of the table, which are rows of Prefect's database."""


class BatchDisplay:
    """Shows the batches of a run as they change."""

    def __init__(self, run_id: str, log: Any) -> None:
        self._run_id = run_id
        self._log = log
        self._said: tuple[object, ...] = ()
        self._said_at = 0.0
        self._drawn: list[dict[str, Any]] = []
        self._drawn_at = 0.0

    def tell(self, what: str, intent: Intent) -> None:
        """A batch was submitted, has ended, or is late."""
        name, model = intent.batch_id, intent.model
        if what == "submitted":
            self._log.info("batch %s: %s questions to %s", name, f"{intent.requests:,}", model)
            batch_submitted(self._run_id, intent)
        elif what == "ended":
            self._log.info(
                "batch %s of %s is %s: %s of %s answered, %s refused",
                *(name, model, intent.said, f"{intent.answered:,}", f"{intent.requests:,}"),
                f"{intent.refused:,}",
            )
            batch_ended(self._run_id, intent)
        else:
            self._log.warning(
                "batch %s of %s is late: cancelled, the rest goes online", name, model
            )
            batch_late(self._run_id, intent)

    def show(self, intents: Sequence[Intent], *, last: bool = False) -> None:
        """The batches as they are now."""
        if not intents:
            return
        self._say(intents)
        rows = [batch_row(one) for one in intents]
        if not last and time.monotonic() - self._drawn_at < _ARTIFACT_EVERY:
            return
        told = [{name: value for name, value in row.items() if name != "age"} for row in rows]
        if told == self._drawn:
            return
        self._drawn, self._drawn_at = told, time.monotonic()
        # A table that the server cannot take now must not cost the run.
        with suppress(Exception):
            if server_answers():
                create_table_artifact(
                    rows, key="bulk-review-batches", description="Batches at the provider"
                )

    def _say(self, intents: Sequence[Intent]) -> None:
        """The line for the terminal: into a log, each is a line of its own, so not at every look."""
        now = time.monotonic()
        counts = tuple((one.id, one.state, one.said, one.done) for one in intents)
        if counts != self._said or now - self._said_at >= _STILL:
            self._said, self._said_at = counts, now
            stage(line(intents))


def line(intents: Sequence[Intent]) -> str:
    """What is waited for, in one line."""
    working = [one for one in intents if one.state in ("planned", "uploaded", "working", "ended")]
    rows, done = sum(one.requests for one in working), sum(one.done for one in working)
    oldest = max((time.time() - one.created for one in working), default=0.0)
    over = sum(one.answered for one in intents if one not in working)
    many = "1 batch" if len(working) == 1 else f"{len(working)} batches"
    text = f"waiting for {many}, {done:,} of {rows:,} rows done"
    if not working:
        return f"{over:,} rows answered by batch"
    answered = f", {over:,} answered" if over else ""
    return f"{text}{answered}, oldest {duration(oldest)}"


def batch_row(one: Intent) -> dict[str, Any]:
    """One batch as a row of a table."""
    return {
        "batch": one.batch_id or one.id,
        "model": one.model,
        "app_id": one.app_id,
        "state": one.said or one.state,
        "done": f"{one.done:,} of {one.requests:,}",
        "answered": one.answered,
        "refused": one.refused,
        "age": duration(time.time() - one.created),
        "request file": one.file_id,
        "result files": " ".join(filter(None, (one.output_file_id, one.error_file_id))),
        "run": one.run_id,
    }
