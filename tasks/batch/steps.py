"""
The steps of one batch, from the intent in the state to its rows in the journal; see intents.

Each method does one thing at the provider and then makes the change durable. All may be repeated.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from tasks.core.calls import Refused, Reply, Usage
from tasks.core.errors import BatchCallFailed
from tasks.core.quotas import AppId
from tasks.core.run import Run
from tasks.upstream.batches.client import BatchClient
from tasks.upstream.batches.dialect import BatchDialect
from tasks.upstream.batches.intents import Intent
from tasks.upstream.batches.records import (
    BatchRow,
    BatchStatus,
    RequestFile,
    RowBroken,
    RowFailure,
    RowReply,
)
from tasks.upstream.batches.store import BatchStore
from tasks.upstream.budget import Budget
from tasks.upstream.calls.adaptations import Adaptations
from tasks.upstream.calls.refusals import Refusal
from tasks.upstream.calls.scrub import Scrubber
from tasks.upstream.journal import Answers, Journal

__all__ = ["CREATE_GRACE", "NOT_FOUND", "Endpoint", "Steps", "owner_key"]

CREATE_GRACE = 30.0
"""Seconds after which a batch that is not in the provider's list was never made."""

NOT_FOUND = "not_found"
"""The state of a batch that its provider does not know any more."""

_TOGETHER = 200
"""Rows that are journaled at once: an fsync each would take minutes for 50,000."""

_MESSAGE = 300
"""Characters kept of what a row says."""

_FINAL = frozenset({"bad_request", "content_filter", "context_length", "refusal"})
"""Refusals of the question itself, which a call online would get as well; others are asked again."""


def owner_key(intent_id: str) -> str:
    """What the process that works on an intent claims in the journal: it goes when the process goes."""
    return hashlib.sha256(f"batch {intent_id}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An app_id as batches use it."""

    app_id: AppId
    client: BatchClient
    dialect: BatchDialect


@dataclass(slots=True)
class Steps:
    """What the steps share. Not thread-safe."""

    run: Run
    store: BatchStore
    journal: Journal
    endpoints: Mapping[str, Endpoint]
    """By alias."""
    adaptations: Adaptations
    scrub: Scrubber
    folder: Path
    log: Any = field(default_factory=lambda: logging.getLogger(__name__))
    uncertain: dict[str, float] = field(default_factory=dict)
    """Intents whose `create` may have had its effect -> when it was sent."""
    budget: Budget | None = None
    _learnt: set[str] = field(default_factory=set)

    def is_affordable(self, intent: Intent, usage: Usage) -> bool:
        """Whether the budget has room for the whole batch, as estimated, which is booked then."""
        return self.budget is None or self.budget.reserve_batch(
            intent.id, intent.model, intent.requests, usage
        )

    def upload(self, intent: Intent, file: RequestFile) -> Intent:
        """The request file goes to the provider."""
        file_id = self._client(intent).upload(file)
        return self.store.move(intent, "uploaded", file_id=file_id)

    def create(self, intent: Intent) -> Intent | None:
        """The batch begins; None: it is not known yet whether it has."""
        client = self._client(intent)
        if (sent := self.uncertain.get(intent.id)) is not None:
            if (found := client.find(intent.file_id, intent.metadata)) is not None:
                return self._begun(intent, found)
            if time.time() - sent < CREATE_GRACE:
                return None
        self.uncertain.pop(intent.id, None)
        try:
            return self._begun(intent, client.create(intent.file_id, intent.metadata))
        except BatchCallFailed as error:
            if error.uncertain:
                self.uncertain[intent.id] = time.time()
            raise

    def adopt(self, intent: Intent) -> Intent | None:
        """What became of a batch whose maker has died before it knew; None: not known yet."""
        if intent.state == "planned":
            return self.abandon(intent)
        client = self._client(intent)
        found = client.find(intent.file_id, intent.metadata)
        if found is not None:
            return self._begun(intent, found)
        if time.time() - intent.changed < CREATE_GRACE:
            return None
        return self.abandon(intent)

    def abandon(self, intent: Intent) -> Intent:
        """There is no batch: its file goes, its questions and its part of the budget are free again."""
        self._delete(intent, [intent.file_id])
        if self.budget is not None:
            self.budget.settle_batch(intent.id, intent.model, 0, Usage())
        return self.store.move(intent, "abandoned")

    def poll(self, intent: Intent) -> Intent:
        """How far it is."""
        try:
            status = self._client(intent).get(intent.batch_id)
        except BatchCallFailed as error:
            if error.code != "not_found":
                raise
            return self.store.move(intent, "ended", said=NOT_FOUND)
        seen = {"said": status.said, "done": status.counts.done}
        if not status.is_over:
            return intent if _same(intent, seen) else self.store.note(intent, **seen)
        return self.store.move(
            intent,
            "ended",
            **seen,
            output_file_id=status.output_file_id,
            error_file_id=status.error_file_id,
        )

    def cancel(self, intent: Intent, *, late: bool = False) -> Intent:
        """Ask the provider to stop it; what it has done by then is charged, and will be read."""
        status = self._client(intent).cancel(intent.batch_id)
        return self.store.note(intent, said=status.said, cancelled=time.time(), late=int(late))

    def read(self, intent: Intent, status: BatchStatus | None) -> Intent:
        """Its rows go into the journal; its questions are free again.

        A file that the provider does not have any more is as if it were empty.
        """
        questions = self.store.questions(intent)
        answers = Answers(self.journal, self.run.settings.pool)
        rows = self._rows(intent, status, questions)
        answered, refused, broken = 0, dict[str, Refused](), 0
        usage = Usage()
        while chunk := list(islice(rows, _TOGETHER)):
            replies = {
                row.custom_id: self._paid(row.reply, intent, questions[row.custom_id])
                for row in chunk
                if isinstance(row, RowReply)
            }
            answers.put_all(replies)
            answered += len(replies)
            for row in chunk:
                if isinstance(row, RowReply):
                    usage = usage.plus(row.reply.usage)
                elif isinstance(row, RowFailure):
                    usage = usage.plus(row.usage)
                    refused |= self._judge(row, intent)
                broken += isinstance(row, RowBroken)
        if broken:
            self.log.warning("batch %s: %d lines could not be read", intent.batch_id, broken)
        self.store.refuse(self.run.run_id, refused)
        if self.budget is not None:
            self.budget.settle_batch(intent.id, intent.model, answered, usage)
        return self.store.move(intent, "read", answered=answered, refused=len(refused))

    def tidy(self, intent: Intent) -> Intent:
        """Its files leave the provider, unless they are to be kept."""
        if not self.run.settings.batch.keep_files:
            self._delete(intent, [intent.file_id, intent.output_file_id, intent.error_file_id])
        return self.store.move(intent, "closed")

    def status(self, intent: Intent) -> BatchStatus | None:
        """What the provider says of it now; None: it does not know it any more."""
        if intent.said == NOT_FOUND:
            return None
        return self._client(intent).get(intent.batch_id)

    # -- inside ------------------------------------------------------------------------------

    def _client(self, intent: Intent) -> BatchClient:
        return self.endpoints[intent.app_id].client

    def _begun(self, intent: Intent, status: BatchStatus) -> Intent:
        self.uncertain.pop(intent.id, None)
        return self.store.move(intent, "working", batch_id=status.id, said=status.said)

    def _rows(
        self, intent: Intent, status: BatchStatus | None, questions: Mapping[str, str]
    ) -> Iterator[BatchRow]:
        if status is None:
            return
        try:
            yield from self._client(intent).rows(
                status, questions.keys(), self.folder, intent.model
            )
        except BatchCallFailed as error:
            if error.code != "not_found":
                raise
            self.log.warning("batch %s: its results are gone: %s", intent.batch_id, error)

    def _paid(self, reply: Reply, intent: Intent, paid_for: str) -> Reply:
        return replace(
            reply,
            via="batch",
            batch_id=intent.batch_id,
            paid_for=paid_for,
        )

    def _judge(self, row: RowFailure, intent: Intent) -> dict[str, Refused]:
        """The refusal of a question for good; nothing: it is asked again."""
        if row.adaptable and row.refusal is not None:
            self._learn(row.refusal, intent)
            return {}
        if row.again or row.reason not in _FINAL:
            return {}
        message = self.scrub(row.message, _MESSAGE)
        place = intent.app_id, intent.endpoint, intent.batch_id
        return {row.custom_id: Refused(row.reason, message, *place)}

    def _learn(self, refusal: Refusal, intent: Intent) -> None:
        """Have the next file written as the endpoint takes it: all rows of one are alike."""
        path = self.folder / f"{intent.sha256[:32]}.jsonl"
        if intent.id in self._learnt or not path.exists():
            return
        self._learnt.add(intent.id)
        with path.open("rb") as lines:
            body = orjson.loads(lines.readline())["body"]
        place = intent.endpoint, intent.model
        self.adaptations.learn(place, body, self.adaptations.at(place), refusal)

    def _delete(self, intent: Intent, files: list[str]) -> None:
        for name in files:
            if not name:
                continue
            try:
                self._client(intent).delete(name)
            except BatchCallFailed as error:
                # It expires by itself; the batch's answers are safe.
                self.log.warning("file %s stays at the provider: %s", name, error)


def _same(intent: Intent, seen: Mapping[str, Any]) -> bool:
    return all(getattr(intent, name) == value for name, value in seen.items())
