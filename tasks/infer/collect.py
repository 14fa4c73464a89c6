"""
The collecting pass of a shard: what its inputs ask, and the journal does not answer, into a file.

The steps of an input are those of a run, with the journal as the only model. A cell whose question
has no answer stays open, and nothing is asked about the comments of an input with an open check, so
a first pass meets the checks, and a second one, when those are answered, the reviews. Questions that
follow from an unreadable reply are not for a batch: the run asks them online.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, TypeVar

from tasks.core.calls import Refused
from tasks.core.check_settings import ToolSettings
from tasks.core.errors import CallFailed
from tasks.core.files import atomic, write_json
from tasks.core.paths import ShardPaths
from tasks.core.records import Input, InputReview
from tasks.core.run import Run
from tasks.core.settings import Settings
from tasks.infer.ask import Asked, Asker, Parse, Parsed
from tasks.infer.call_rows import failed_row
from tasks.infer.input_steps import InputSteps
from tasks.infer.journal_only import NOT_IN_JOURNAL, JournalOnly
from tasks.infer.progress import Progress
from tasks.infer.query import Query
from tasks.infer.tool_checks import ToolAnswer, ToolChecks
from tasks.outputs.stored import stored_input
from tasks.review.prompts.team_rules import TeamRules
from tasks.upstream.batches.questions import write_question
from tasks.upstream.batches.store import open_batches
from tasks.upstream.journal import Journal, open_journal

__all__ = ["Collected", "Collector", "collect_questions"]

_P = TypeVar("_P", bound=Parsed)

_TOGETHER = 100
"""Inputs that a tool is run on at once."""


@dataclass(slots=True)
class Collected:
    """What a collecting pass has met."""

    inputs: int = 0
    questions: int = 0
    open_inputs: int = 0
    """Inputs with a check that has no answer yet."""
    online: int = 0
    """Questions that are not for a batch: asked again, or of a model that goes online."""


def collect_questions(shard: ShardPaths) -> Collected:
    """Write the shard's questions; returns what was met.

    Raises:
        StateError: the journal cannot be read.
        OutputError: the file cannot be written.
    """
    run = Run.read(shard.settings)
    with open_batches(run.batches) as store:
        refused = store.refusals(run.run_id)
    with open_journal(run.journal, patient=True) as journal, atomic(shard.questions) as file:
        collector = Collector(run, journal, refused, file)
        with shard.inputs.open("rb") as lines:
            for items in _in_groups(lines):
                collector.take(items)
    write_json(shard.collected, asdict(collector.found))
    return collector.found


def _in_groups(lines: BinaryIO) -> Iterator[list[Input]]:
    group: list[Input] = []
    for line in lines:
        group.append(stored_input(line))
        if len(group) == _TOGETHER:
            yield group
            group = []
    if group:
        yield group


class Collector:
    """Takes the place of a shard's worker, for one thread. Nothing is called."""

    def __init__(
        self, run: Run, journal: Journal, refused: Mapping[str, Refused], file: BinaryIO
    ) -> None:
        self.settings: Settings = run.settings
        self.team_rules = TeamRules(run.settings, run.rules)
        self.progress = Progress()
        self.found = Collected()
        self._reader = JournalOnly(journal, run.settings.pool, refused)
        self._asker = Asker(self._reader, run.settings.prices, run.fresh_since, run.started)
        self._pool = run.settings.batch_pool
        self._file = file
        self._written: set[bytes] = set()
        self._tools = ToolChecks(run.settings, _say_nothing, _say_nothing)
        self._tools_run = False
        self._open = False
        """The input at hand has a check without an answer."""

    def take(self, items: list[Input]) -> None:
        """Take some inputs through the steps; tools run on those whose models have all answered."""
        self.found.inputs += len(items)
        closed = [item for item in items if not self._is_open(item)]
        if not closed or not self.settings.tool_check:
            return
        self._tools.run(closed)
        self._tools_run = True
        try:
            for item in closed:
                self._is_open(item)
        finally:
            self._tools_run = False
            self._tools.forget(closed)

    def submit(self, step: Callable[..., Any], /, *args: Any) -> None:
        """Steps run at once, one after the other."""
        step(*args)

    def ask(self, query: Query, parse: Parse[_P]) -> Asked[_P]:
        """The journal's answer; what it does not answer is written down."""
        if query.stage == "review" and self._reviews_wait:
            return Asked(None, failed_row(query, CallFailed("it waits", code=NOT_IN_JOURNAL)))
        hits = self._reader.hits
        self._reader.missed.clear()
        answer = self._asker.ask(query, parse)
        for request in self._reader.missed:
            self._open = self._open or query.stage == "check"
            if self._reader.hits > hits or not self._is_served(request.model):
                self.found.online += 1
            else:
                self._write(request)
        return answer

    def tool_answer(self, tool: ToolSettings, item: Input) -> ToolAnswer:
        """The tool's findings; none as long as a model's answer is missing."""
        return self._tools.answer(tool, item) if self._tools_run else ToolAnswer()

    def broken(self, input_id: str, error: BaseException) -> None:
        """Nothing: the run meets it again, and says so."""

    @property
    def _reviews_wait(self) -> bool:
        return self._open or bool(self.settings.tool_check and not self._tools_run)

    def _is_open(self, item: Input) -> bool:
        self._open = False
        InputSteps(self, item, _ignore, _raise).start()
        self.found.open_inputs += self._open
        return self._open

    def _is_served(self, model: str) -> bool:
        return any(one.serves(model) for one in self._pool)

    def _write(self, request: Any) -> None:
        key = bytes.fromhex(request.key)
        if key not in self._written:
            self._written.add(key)
            self.found.questions += 1
            write_question(self._file, request)


def _say_nothing(*_: object) -> None:
    """The run says it."""


def _ignore(_review: InputReview) -> None:
    """Nobody wants the outcome."""


def _raise(error: BaseException) -> None:
    raise error
