"""One input from its first check to its last verdict, as steps on the process's thread pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from tasks.core.calls import Reply
from tasks.core.cells import cells_of, coverage_of, planned_cells
from tasks.core.records import CallRow, Comment, Input, InputReview
from tasks.core.settings import CheckSettings, Settings
from tasks.infer.ask import Answer, Parse, Parsed
from tasks.infer.call_rows import skipped_row
from tasks.infer.fan_out import fan_out
from tasks.infer.progress import Progress
from tasks.infer.query import Query
from tasks.infer.review_steps import Reviewed, ask_batch, plan_batches, to_review, with_verdicts
from tasks.review.findings.clusters import cluster
from tasks.review.findings.policy import apply_policy, inherit_verdicts
from tasks.review.inputs.render import Rendered, render_input
from tasks.review.inputs.tokens import count_tokens
from tasks.review.places.anchors import build_comment
from tasks.review.prompts import check_messages, prompt_version
from tasks.review.replies.replies import ParsedComments, parse_comments

__all__ = ["InputSteps", "Worker"]

P = TypeVar("P", bound=Parsed)


class Worker(Protocol):
    """Where the work is done: a shard's worker, or a dry run's."""

    @property
    def settings(self) -> Settings: ...
    @property
    def progress(self) -> Progress: ...
    def submit(self, step: Callable[..., Any], /, *args: Any) -> Any: ...
    def ask(self, query: Query, parse: Parse[P]) -> Answer[P]: ...


class InputSteps:
    """The work on one input; `done` gets its review, `fail` what went wrong beyond a cell."""

    def __init__(
        self,
        worker: Worker,
        item: Input,
        done: Callable[[InputReview], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._worker = worker
        self._item = item
        self._done = done
        self._fail = fail
        self._where: dict[str, int] = {}
        self._checked: list[CallRow] = []
        self._notes: list[str] = []
        budget = worker.settings.max_input_tokens
        self._rendered: Rendered = render_input(item, budget, _tokens)

    def start(self) -> None:
        """Queue every check; what follows queues itself."""
        if self._rendered.unreviewable:
            self._finish_unreviewable(self._rendered.unreviewable)
            return
        steps = [
            partial(self._check, check, part, messages)
            for part, rendered in enumerate(self._rendered.parts)
            for messages in [check_messages(self._item, rendered)]
            for check in self._worker.settings.check
        ]
        fan_out(self._worker.submit, steps, self._checks_done, self._fail)

    def _check(
        self, check: CheckSettings, part: int, messages: tuple[dict[str, str], ...]
    ) -> tuple[CheckSettings, int, Answer[ParsedComments]]:
        query = Query(
            input_id=self._item.input_id,
            stage="check",
            name=check.name,
            part=part,
            messages=messages,
            prompt_version=prompt_version("check"),
            settings=check,
            counted=count_tokens(messages, check.model),
        )
        return check, part, self._worker.ask(query, _parse)

    def _checks_done(
        self, answers: Sequence[tuple[CheckSettings, int, Answer[ParsedComments]]]
    ) -> None:
        self._checked = [answer.row for _, _, answer in answers]
        comments = cluster(self._comments(answers))
        review = self._worker.settings.review
        if not self._worker.settings.reviews or review is None:
            self._finish(comments, [])
            return
        chosen = to_review(comments, review, len(self._worker.settings.check))
        if not chosen:
            reason = "nothing_to_review" if comments else "no_comments"
            row = skipped_row(self._item.input_id, "review", "review", review.model, reason)
            self._finish(comments, [Reviewed({}, [row])])
            return
        batches = plan_batches(self._item, self._rendered.parts, self._where, chosen, review.batch)
        steps = [partial(ask_batch, self._worker, review, batch) for batch in batches]
        fan_out(self._worker.submit, steps, partial(self._finish, comments), self._fail)

    def _comments(
        self, answers: Sequence[tuple[CheckSettings, int, Answer[ParsedComments]]]
    ) -> list[Comment]:
        comments: list[Comment] = []
        ordinals: dict[str, int] = {}
        for check, part, answer in answers:
            if answer.parsed is None:
                continue
            if answer.parsed.truncated:
                self._notes.append(f"{check.name}: truncated")
            for raw in answer.parsed.items:
                ordinal = ordinals.get(check.name, 0)
                ordinals[check.name] = ordinal + 1
                comments.append(build_comment(self._item, check.name, ordinal, raw))
                self._where[comments[-1].comment_id] = part
        return comments

    def _finish(self, comments: Sequence[Comment], reviewed: Sequence[Reviewed]) -> None:
        verdicts = {key: value for one in reviewed for key, value in one.verdicts.items()}
        judged = cluster(inherit_verdicts(with_verdicts(comments, verdicts)))
        decided = apply_policy(judged, self._worker.settings.policy, self._item)
        rows = [*self._checked, *(row for one in reviewed for row in one.rows)]
        self._report(decided, rows)

    def _finish_unreviewable(self, reason: str) -> None:
        settings = self._worker.settings
        models = {("check", check.name): check.model for check in settings.check}
        if settings.reviews and settings.review is not None:
            models["review", "review"] = settings.review.model
        rows = [
            skipped_row(self._item.input_id, stage, name, model, reason)
            for (stage, name), model in models.items()
        ]
        self._report([], rows)

    def _report(self, comments: Sequence[Comment], rows: Sequence[CallRow]) -> None:
        settings = self._worker.settings
        planned = planned_cells([one.name for one in settings.check], reviews=settings.reviews)
        cells = cells_of(planned, rows, "missing")
        if self._rendered.partial_reason:
            self._notes.append(self._rendered.partial_reason)
        coverage, reason = coverage_of(cells, "; ".join(self._notes) or None)
        self._worker.progress.finished(cells)
        self._done(InputReview(self._item.input_id, coverage, reason, tuple(comments), tuple(rows)))


def _tokens(text: str) -> int:
    return count_tokens(text, "").tokens


def _parse(reply: Reply) -> ParsedComments:
    return parse_comments(reply.content, finish_reason=reply.finish_reason)
