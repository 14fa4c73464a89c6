"""
A run without its calls: the same steps on the same prompts, with the journal as the only model.

What the journal answers goes on as in a run, down to the reviews of its comments. What it does not
answer is a call that the run will make. Reviews of comments that nobody made yet are assumed. Tools
whose findings are for the review model are run: they tell how many there are.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tasks.core.check_settings import CheckSettings, ReviewSettings, ToolSettings
from tasks.core.records import Input, InputReview
from tasks.core.settings import Settings
from tasks.estimate.loads import COMMENTS_PER_CHECK, Load, assumed_calls
from tasks.infer.ask import Asked, Asker, Parse, Parsed
from tasks.infer.input_steps import InputSteps
from tasks.infer.journal_only import JournalOnly
from tasks.infer.progress import Progress
from tasks.infer.query import Query
from tasks.infer.tool_checks import ToolAnswer, ToolChecks
from tasks.review.prompts.team_rules import TeamRules
from tasks.upstream.journal import Journal

__all__ = ["DryRun"]

_P = TypeVar("_P", bound=Parsed)

_COMMENT_TOKENS = 150
"""Of one comment in a review's prompt."""


@dataclass(slots=True)
class _Sum:
    calls: int = 0
    journaled: int = 0
    input_tokens: int = 0
    assumed: int = 0


class DryRun:
    """Takes the place of a shard's worker, for one thread. Nothing is called, nothing is written.

    Raises:
        StateError: the journal cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal | None,
        fresh_since: float | None = None,
        team_rules: TeamRules | None = None,
    ) -> None:
        self.settings = settings
        self.team_rules = team_rules or TeamRules(settings)
        self.progress = Progress()
        self._reader = JournalOnly(journal, settings.pool)
        self._asker = Asker(self._reader, settings.prices, fresh_since, time.time())
        self._sums: dict[str, _Sum] = defaultdict(_Sum)
        self._parts: dict[int, int] = {}
        """Prompt tokens of each part of the input at hand of which a check is not answered."""
        self._judged = tuple(one for one in settings.tool_check if one.review and settings.reviews)
        only = settings.model_copy(update={"tool_check": self._judged})
        self._tools = ToolChecks(only, self._complain, _broken)
        self.complaints: dict[str, str] = {}
        """What a tool that failed has said, by its check's name."""

    def take(self, items: Sequence[Input]) -> None:
        """Take inputs through the steps, the tools looking at all of them at once."""
        self._tools.run(items)
        for item in items:
            self._parts.clear()
            InputSteps(self, item, _ignore, _raise).start()
            self._assume_reviews(sum(self._found(tool, item) for tool in self._judged))
        self._tools.forget(items)

    def loads(self) -> list[Load]:
        """The loads that were found, in the order of the settings."""
        named: list[tuple[str, CheckSettings | ReviewSettings]] = [
            (check.name, check) for check in self.settings.check
        ]
        tools = [Load(tool.name, tool.model) for tool in self.settings.tool_check]
        if self.settings.reviews and self.settings.review is not None:
            named.append(("review", self.settings.review))
        return [_load(name, model, self._sums[name]) for name, model in named] + tools

    def submit(self, step: Callable[..., Any], /, *args: Any) -> None:
        """Steps run at once, one after the other."""
        step(*args)

    def ask(self, query: Query, parse: Parse[_P]) -> Asked[_P]:
        """The journal's answer; None, as after a failed call, when it says nothing."""
        hits = self._reader.hits
        self._reader.missed.clear()
        answer = self._asker.ask(query, parse)
        missed = len(self._reader.missed)
        if query.stage == "review" and self._parts:
            return answer  # of comments that will not stay alone: assumed below instead
        if query.stage == "check" and missed:
            self._parts[query.part] = query.counted.tokens
        found = self._sums[query.name]
        found.journaled += self._reader.hits - hits
        found.calls += missed
        found.input_tokens += missed * query.counted.tokens
        return answer

    def tool_answer(self, tool: ToolSettings, item: Input) -> ToolAnswer:
        """What a tool says; nothing where no call depends on it."""
        return self._tools.answer(tool, item) if tool in self._judged else ToolAnswer()

    def broken(self, input_id: str, error: BaseException) -> None:
        """Nothing: the run will say so."""

    def _found(self, tool: ToolSettings, item: Input) -> int:
        return len(self._tools.answer(tool, item).comments)

    def _complain(self, tool: ToolSettings, code: str, words: str) -> None:
        self.complaints[tool.name] = f"{code}: {words}"

    def _assume_reviews(self, known: int) -> None:
        review, checks = self.settings.review, len(self.settings.check)
        if not self.settings.reviews or review is None:
            return
        found = self._sums["review"]
        for tokens in self._parts.values():
            calls = assumed_calls(checks, review.batch, known)
            comments = round(COMMENTS_PER_CHECK * checks) + known
            known = 0  # a tool's findings are counted once, whichever part shows them
            found.calls += calls
            found.assumed += calls
            found.input_tokens += calls * tokens + comments * _COMMENT_TOKENS


def _load(name: str, settings: CheckSettings | ReviewSettings, found: _Sum) -> Load:
    return Load(
        name,
        settings.model,
        calls=found.calls,
        journaled=found.journaled,
        input_tokens=found.input_tokens,
        output_tokens=found.calls * settings.expected_tokens,
        assumed=found.assumed,
    )


def _ignore(_review: InputReview) -> None:
    """Nobody wants the outcome."""


def _broken(_input_id: str, error: BaseException) -> None:
    raise error


def _raise(error: BaseException) -> None:
    raise error
