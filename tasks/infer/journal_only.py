"""Calls that only the journal answers: for a pass that asks nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.core.calls import Refused, Reply, Request
from tasks.core.errors import CallFailed
from tasks.core.quotas import AppId
from tasks.upstream.journal import Answers, Journal

__all__ = ["NOT_IN_JOURNAL", "JournalOnly"]

NOT_IN_JOURNAL = "not_in_journal"


class JournalOnly:
    """Takes the place of a Caller. `journal` is None when there is none yet; not thread-safe.

    `refused` are questions that a batch of this run has refused for good, by their keys.
    """

    def __init__(
        self,
        journal: Journal | None,
        app_ids: Sequence[AppId],
        refused: Mapping[str, Refused] | None = None,
    ) -> None:
        self._answers = None if journal is None else Answers(journal, app_ids)
        self._refused = refused or {}
        self.hits = 0
        self.missed: list[Request] = []
        """Questions without an answer, until somebody clears it."""

    def call(self, request: Request, *, fresh_since: float | None = None) -> Reply:
        """The journal's answer.

        Raises:
            CallFailed: it has none, or the question was refused.
            StateError: the journal cannot be read.
        """
        reply = self._read(request, fresh_since)
        if reply is None:
            if (refused := self._refused.get(request.key)) is not None:
                raise CallFailed(refused.message, code=refused.code)
            self.missed.append(request)
            msg = "the journal has no answer"
            raise CallFailed(msg, code=NOT_IN_JOURNAL)
        self.hits += 1
        return reply

    def forget(self, request: Request) -> None:
        """Nothing: such a pass changes nothing."""

    def _read(self, request: Request, not_before: float | None) -> Reply | None:
        return None if self._answers is None else self._answers.get(request, not_before=not_before)
