"""Rounds on the sandbox's batches: a run, its questions, and what became of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from deployments.sandbox import Sandbox
from tasks.batch.opening import open_rounds
from tasks.batch.rounds import Rounds
from tasks.core.calls import Reply, Request
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.upstream.batches.questions import write_question
from tasks.upstream.journal import Answers, open_journal

KEYS = {"a": SecretStr("sk-batch-a"), "b": SecretStr("sk-batch-b")}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}

CONFIG = """
state = "{state}"
[app_ids.a]
key = "env:K"
base_url = "{url}"
quota = []
batch = true
{app}
[[check]]
name = "one"
model = "m"
[review]
model = "r"
[batch]
use = "{use}"
min_calls = {min_calls}
{batch}
"""


def question(text: str, model: str = "m", **params: Any) -> Request:
    """A request as a shard writes it down."""
    content = f"File: src/app.py\n@@ -1,1 +1,2 @@\n+ 1 | {text}\n"
    messages = ({"role": "user", "content": content},)
    return Request(
        model, messages, params, prompt_tokens=40, expected_tokens=20, cell=f"{text}\ncheck\none\n0"
    )


def questions(count: int, model: str = "m", **params: Any) -> list[Request]:
    """Questions that differ."""
    return [question(f"x = {number}", model, **params) for number in range(count)]


@dataclass(slots=True)
class Desk:
    """One run at a time, on one state."""

    sandbox: Sandbox
    folder: Path
    state: Path | str
    told: list[tuple[str, str]]

    def run(
        self,
        run_id: str = "run-1",
        *,
        use: str = "auto",
        min_calls: int = 1,
        batch: str = "",
        app: str = "",
    ) -> Run:
        """A run of that id, with more settings."""
        url = self.sandbox.base_url
        given = {"use": use, "min_calls": min_calls, "batch": batch, "app": app}
        text = CONFIG.format(state=self.state, url=url, **given)
        return Run(run_id, load_settings(text), str(self.state), 2)

    @contextmanager
    def rounds(
        self, run: Run | None = None, *, started: float | None = None, **watched: Any
    ) -> Iterator[Rounds]:
        """Its rounds, looking at batches twenty times a second."""
        run = run or self.run()
        folder = self.folder / run.run_id
        folder.mkdir(exist_ok=True)
        given = {
            "tell": lambda what, intent: self.told.append((what, intent.batch_id)),
            "poll": 0.05,
            **watched,
        }
        with open_rounds(
            run,
            KEYS,
            folder,
            started=time.time() if started is None else started,
            log=logging.getLogger("test"),
            **given,
        ) as rounds:
            yield rounds

    def file(self, requests: Sequence[Request]) -> list[Path]:
        """The question file of a shard."""
        path = self.folder / "questions.jsonl"
        with path.open("wb") as file:
            for request in requests:
                write_question(file, request)
        return [path]

    def replies(self, requests: Sequence[Request], run: Run | None = None) -> list[Reply | None]:
        """What the journal answers."""
        run = run or self.run()
        with open_journal(run.journal) as journal:
            answers = Answers(journal, run.settings.pool)
            return [answers.get(one) for one in requests]

    def unanswered(self, requests: Sequence[Request]) -> list[Request]:
        """Those that it does not answer."""
        found = zip(requests, self.replies(requests), strict=True)
        return [request for request, reply in found if reply is None]

    def ask_all(self, requests: Sequence[Request], run: Run | None = None) -> int:
        """Rounds until nothing more is worth one, each with what is open; how many there were."""
        count = 0
        with self.rounds(run) as rounds:
            rounds.adopt()
            while rounds.ask(self.file(self.unanswered(requests))):
                count += 1
        return count


@pytest.fixture
def desk(sandbox: Sandbox, tmp_path: Path) -> Desk:
    """A desk whose batches take no time."""
    sandbox.control(batch={"seconds": 0})
    return Desk(sandbox, tmp_path, tmp_path / "state", [])


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a provider minutes may take a test a second."""
    monkeypatch.setattr("tasks.batch.steps.CREATE_GRACE", 0.3)
