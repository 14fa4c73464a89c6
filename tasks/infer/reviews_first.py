"""
The pass of a shard whose batches came too late: what is paid for already is finished before anything is begun.

Inputs whose checks are all answered have their comments reviewed, under the quota; no check is asked.
The answers are in the journal then, where the usual pass finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tasks.core.check_settings import ToolSettings
from tasks.core.errors import CallFailed
from tasks.core.quotas import AppId
from tasks.core.records import Input
from tasks.core.settings import Settings
from tasks.infer.ask import Asked, Asker, Parse, Parsed
from tasks.infer.call_rows import failed_row
from tasks.infer.fan_out import CountDownLatch
from tasks.infer.input_steps import InputSteps
from tasks.infer.journal_only import NOT_IN_JOURNAL, JournalOnly
from tasks.infer.progress import Progress
from tasks.infer.query import Query
from tasks.infer.tool_checks import ToolAnswer
from tasks.review.prompts.team_rules import TeamRules
from tasks.upstream.journal import Journal

__all__ = ["ReviewsFirst"]

_P = TypeVar("_P", bound=Parsed)


class ReviewsFirst:
    """Takes the place of a shard's worker for one pass over some inputs. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        asker: Asker,
        *,
        team_rules: TeamRules,
        journal: Journal,
        submit: Callable[..., None],
        tool_answer: Callable[[ToolSettings, Input], ToolAnswer],
        fresh_since: float | None = None,
        started: float = 0.0,
    ) -> None:
        self.settings = settings
        self.team_rules = team_rules
        self.progress = Progress()
        self.submit: Callable[..., Any] = submit
        self.tool_answer = tool_answer
        self._asker = asker
        self._journal = journal
        self._pool: tuple[AppId, ...] = settings.pool
        self._fresh_since = fresh_since
        self._started = started
        self._open: set[str] = set()
        """Inputs with a check that has no answer."""

    def take(self, items: Sequence[Input], latch: CountDownLatch) -> None:
        """Take inputs through the steps; `latch` opens when all are through."""
        for item in items:
            InputSteps(self, item, lambda _: latch.done(), latch.fail).start()

    def ask(self, query: Query, parse: Parse[_P]) -> Asked[_P]:
        """A check's answer from the journal, a review's from a model as well."""
        if query.stage == "check":
            reader = JournalOnly(self._journal, self._pool)
            prices, since = self.settings.prices, self._fresh_since
            answer = Asker(reader, prices, since, self._started).ask(query, parse)
            if reader.missed:
                self._open.add(query.input_id)
            return answer
        if query.input_id in self._open:
            return Asked(None, failed_row(query, CallFailed("it waits", code=NOT_IN_JOURNAL)))
        return self._asker.ask(query, parse)

    def broken(self, input_id: str, error: BaseException) -> None:
        """Nothing: the usual pass meets it again, and says so."""
