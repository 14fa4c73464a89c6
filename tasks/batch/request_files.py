"""The request files of a run: which questions are in them, whom they are paid for, what they may cost."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasks.batch.plan import Group, WantedQuestions, questions_of
from tasks.batch.steps import Steps
from tasks.core.calls import Request, Usage
from tasks.core.files import output_errors
from tasks.upstream.batches.intents import Intent
from tasks.upstream.batches.questions import read_questions
from tasks.upstream.batches.records import RequestFile
from tasks.upstream.batches.request_file import FileLimits, write_request_files
from tasks.upstream.calls.caller import paid_for

__all__ = ["RequestFiles"]


@dataclass(slots=True)
class RequestFiles:
    """Writes request files from the question files of the shards.

    Raises:
        OutputError: the work folder cannot be written.
    """

    steps: Steps
    sources: tuple[Path, ...] = ()
    """The shards' question files, of the last collecting pass."""
    _payers: dict[str, str] = field(default_factory=dict)
    """Question -> whom its answer is paid for."""
    _expected: dict[str, int] = field(default_factory=dict)
    """Model -> tokens of a usual reply, at most."""

    def of_group(self, group: Group, wanted: WantedQuestions) -> Iterator[RequestFile]:
        """All questions of a group."""
        batch = self.steps.run.settings.batch
        questions = questions_of(group, self.sources, wanted)
        return self._written(group, questions, batch.max_enqueued_tokens)

    def again(self, group: Group, keys: set[str], most_tokens: int) -> Iterator[RequestFile]:
        """Some questions once more, at most so many tokens in a file."""
        return self._written(group, _only(read_questions(self.sources), keys), max(1, most_tokens))

    def intent(self, group: Group, file: RequestFile) -> Intent:
        """A new intent of a file."""
        return Intent(
            id=uuid.uuid4().hex,
            run_id=self.steps.run.run_id,
            app_id=group.app_id.alias,
            provider=group.app_id.answers_as,
            endpoint=group.app_id.base_url,
            model=group.model,
            sha256=file.sha256,
            requests=file.requests,
            prompt_tokens=file.prompt_tokens,
            created=time.time(),
        )

    def questions(self, file: RequestFile) -> dict[str, str]:
        """Its keys, with whom their answers are paid for."""
        return {key: self._payers.get(key, "") for key in file.custom_ids}

    def usage(self, file: RequestFile) -> Usage:
        """What it will cost, as estimated."""
        return Usage(file.prompt_tokens, file.requests * self._expected.get(file.model, 0))

    def _written(
        self, group: Group, requests: Iterator[Request], most_tokens: int
    ) -> Iterator[RequestFile]:
        batch, place = self.steps.run.settings.batch, (group.app_id.base_url, group.model)
        with output_errors(self.steps.folder):
            yield from write_request_files(
                self._noted(requests),
                self.steps.folder,
                FileLimits(batch.max_requests, batch.max_bytes, most_tokens),
                self.steps.endpoints[group.app_id.alias].dialect,
                http=group.app_id.http,
                adapt=lambda body: self.steps.adaptations.at(place).apply(body),
            )

    def _noted(self, requests: Iterator[Request]) -> Iterator[Request]:
        run_id, expected = self.steps.run.run_id, self._expected
        for request in requests:
            self._payers[request.key] = paid_for(run_id, request.cell)
            usual = max(request.expected_tokens, expected.get(request.model, 0))
            expected[request.model] = usual
            yield request


def _only(requests: Iterable[Request], keys: set[str]) -> Iterator[Request]:
    """Those questions, each once."""
    left = set(keys)
    for request in requests:
        if (key := request.key) in left:
            left.discard(key)
            yield request
