"""One input from its first check to its last verdict, as steps on the process's thread pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from tasks.core.calls import Reply, TokenCount
from tasks.core.canary_settings import CANARY
from tasks.core.cells import cells_of, coverage_of, planned_cells
from tasks.core.check_settings import CheckSettings, ReviewSettings, ToolSettings
from tasks.core.records import CallRow, Comment, Input, InputReview, Verdict
from tasks.infer.ask import Asked, Worker
from tasks.infer.call_rows import as_broken, skipped_row
from tasks.infer.fan_out import fan_out
from tasks.infer.fence import INTERNAL_ERROR, fenced_parse, is_ours
from tasks.infer.query import Query
from tasks.infer.review_steps import (
    CommentBatch,
    Reviewed,
    ask_batch,
    plan_batches,
    to_review,
    with_verdicts,
)
from tasks.infer.storable import refuse_unstorable, storable_row
from tasks.infer.tool_checks import tool_row
from tasks.review.findings.clusters import cluster
from tasks.review.findings.policy import apply_policy, inherit_verdicts
from tasks.review.inputs.context import is_on_change
from tasks.review.inputs.render import Rendered, render_input
from tasks.review.inputs.tokens import count_tokens
from tasks.review.places.anchors import build_comment
from tasks.review.places.tool_places import part_of
from tasks.review.prompts import Messages, check_messages, prompt_version
from tasks.review.replies.contract import RawComment
from tasks.review.replies.replies import ParsedComments, parse_comments

__all__ = ["InputSteps"]


class _Checked(NamedTuple):
    """What one check says of one part of the input."""

    name: str
    part: int
    comments: tuple[RawComment, ...]
    row: CallRow


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
        self._rendered = Rendered(())
        self._form = worker.team_rules.for_input(item).form

    def start(self) -> None:
        """Queue every check; what follows queues itself."""
        self._guarded(self._start)()

    def _guarded(self, step: Callable[..., None]) -> Callable[..., None]:
        """`step`, after a defect of which every cell of the input fails and the shard goes on."""

        def run(*args: Any) -> None:
            try:
                step(*args)
            except Exception as error:
                if not is_ours(error):
                    raise
                self._worker.broken(self._item.input_id, error)
                self._finish_broken()

        return run

    def _start(self) -> None:
        budget = self._worker.settings.max_input_tokens
        self._rendered = render_input(self._item, budget, _tokens)
        if self._rendered.unreviewable:
            self._finish_unreviewable(self._rendered.unreviewable)
            return
        steps = [
            # Counted here and not by each check: they ask the same at once, so none would find it counted.
            partial(self._check, check, part, messages, count_tokens(messages, check.model))
            for part, rendered in enumerate(self._rendered.parts)
            for messages in [check_messages(self._item, rendered, self._form)]
            for check in self._worker.settings.check
        ]
        steps += [partial(self._tool, tool) for tool in self._worker.settings.tool_check]
        fan_out(self._worker.submit, steps, self._guarded(self._checks_done), self._fail)

    def _check(
        self, check: CheckSettings, part: int, messages: Messages, counted: TokenCount
    ) -> list[_Checked]:
        try:
            answer = self._ask_check(check, part, messages, counted)
        except Exception as error:
            if not is_ours(error):
                raise
            self._worker.broken(self._item.input_id, error)
            row = skipped_row(self._item.input_id, "check", check.name, check.model, INTERNAL_ERROR)
            answer = Asked(None, replace(as_broken(row), part=part))
        found = answer.parsed.items if answer.parsed else ()
        return [_Checked(check.name, part, found, answer.row)]

    def _tool(self, tool: ToolSettings) -> list[_Checked]:
        """What a tool says of the input, by the parts that show it."""
        answer = self._worker.tool_answer(tool, self._item)
        parts = range(1 if answer.failed or answer.skipped else len(self._rendered.parts))
        return [
            _Checked(
                tool.name,
                part,
                tuple(one for one in answer.comments if part_of(self._rendered.parts, one) == part),
                tool_row(self._item, tool, part, answer),
            )
            for part in parts
        ]

    def _ask_check(
        self, check: CheckSettings, part: int, messages: Messages, counted: TokenCount
    ) -> Asked[ParsedComments]:
        query = Query(
            input_id=self._item.input_id,
            stage="check",
            name=check.name,
            part=part,
            messages=messages,
            prompt_version=prompt_version("check", self._form),
            settings=check,
            counted=counted,
            anew=CANARY in self._item.extra,
        )
        broken = partial(self._worker.broken, query.input_id)
        answer = self._worker.ask(query, fenced_parse(_parse, broken))
        if answer.parsed is not None and answer.parsed.truncated:
            answer = replace(answer, row=replace(answer.row, reason="truncated"))
        return answer

    def _checks_done(self, checked: Sequence[list[_Checked]]) -> None:
        answers = [one for answered in checked for one in answered]
        self._checked = [answer.row for answer in answers]
        comments = cluster(self._comments(answers))
        review = self._worker.settings.review
        if not self._worker.settings.reviews or review is None:
            self._finish(comments, [])
            return
        names = self._worker.settings.check_names
        chosen = to_review(self._reviewed(comments), review, len(names))
        if not chosen:
            reason = "nothing_to_review" if comments else "no_comments"
            row = skipped_row(self._item.input_id, "review", "review", review.model, reason)
            self._finish(comments, [Reviewed({}, [row])])
            return
        parts, size = self._rendered.parts, review.batch
        batches = plan_batches(self._item, parts, self._where, chosen, size, form=self._form)
        steps = [partial(self._review, review, batch) for batch in batches]
        finish = self._guarded(partial(self._finish, comments))
        fan_out(self._worker.submit, steps, finish, self._fail)

    def _reviewed(self, comments: Sequence[Comment]) -> list[Comment]:
        """Those that are for the review model, by the settings of their check."""
        spared = {one.name for one in self._worker.settings.tool_check if not one.review}
        return [one for one in comments if one.check_model not in spared]

    def _review(self, review: ReviewSettings, batch: CommentBatch) -> Reviewed:
        try:
            return ask_batch(self._worker, review, batch)
        except Exception as error:
            if not is_ours(error):
                raise
            self._worker.broken(self._item.input_id, error)
            row = skipped_row(self._item.input_id, "review", "review", review.model, INTERNAL_ERROR)
            lost = {one.comment_id: Verdict(review.model, "call_failed") for one in batch.comments}
            return Reviewed(lost, [replace(as_broken(row), part=batch.number)])

    def _comments(self, answers: Sequence[_Checked]) -> list[Comment]:
        comments: list[Comment] = []
        ordinals: dict[str, int] = {}
        for number, (name, part, raws, row) in enumerate(answers):
            first = ordinals.get(name, 0)
            try:
                found = [
                    build_comment(self._item, name, ordinal, raw)
                    for ordinal, raw in enumerate(raws, first)
                ]
            except Exception as error:
                if not is_ours(error):
                    raise
                self._worker.broken(self._item.input_id, error)
                self._checked[number] = as_broken(row)
                continue
            ordinals[name] = first + len(raws)
            if self._worker.settings.context != "hunk":
                placed = [one for one in found if is_on_change(self._item, one)]
                dropped = row.dropped_items + len(found) - len(placed)
                self._checked[number], found = replace(row, dropped_items=dropped), placed
            self._where.update((one.comment_id, part) for one in found)
            comments += found
        return comments

    def _finish(self, comments: Sequence[Comment], reviewed: Sequence[Reviewed]) -> None:
        self._checked += [row for one in reviewed for row in one.rows]
        verdicts = {key: value for one in reviewed for key, value in one.verdicts.items()}
        judged = self._judged(comments, verdicts) if verdicts else comments
        decided = apply_policy(judged, self._worker.settings.policy, self._item)
        refuse_unstorable(decided, self._checked)
        self._report(decided, self._checked)

    def _judged(
        self, comments: Sequence[Comment], verdicts: Mapping[str, Verdict]
    ) -> Sequence[Comment]:
        """The comments with their verdicts, whose scores choose each cluster's best one anew."""
        inherited = inherit_verdicts(with_verdicts(self._reviewed(comments), verdicts))
        by_id = {one.comment_id: one for one in inherited}
        return cluster(by_id.get(one.comment_id, one) for one in comments)

    def _finish_broken(self) -> None:
        """What was paid keeps its rows."""
        rows = [as_broken(storable_row(row)) for row in self._checked]
        known = {(row.stage, row.name) for row in rows}
        lost = [
            as_broken(skipped_row(self._item.input_id, stage, name, model, INTERNAL_ERROR))
            for (stage, name), model in self._models().items()
            if (stage, name) not in known
        ]
        self._report([], [*rows, *lost])

    def _models(self) -> dict[tuple[str, str], str]:
        """The model of each planned cell."""
        settings = self._worker.settings
        models = {("check", check.name): check.model for check in settings.check}
        models |= {("check", tool.name): tool.model for tool in settings.tool_check}
        if settings.reviews and settings.review is not None:
            models["review", "review"] = settings.review.model
        return models

    def _finish_unreviewable(self, reason: str) -> None:
        rows = [
            skipped_row(self._item.input_id, stage, name, model, reason)
            for (stage, name), model in self._models().items()
        ]
        self._report([], rows)

    def _report(self, comments: Sequence[Comment], rows: Sequence[CallRow]) -> None:
        settings = self._worker.settings
        planned = planned_cells(settings.check_names, reviews=settings.reviews)
        cells = cells_of(planned, rows, "missing")
        coverage, reason = coverage_of(cells, self._rendered.partial_reason)
        self._worker.progress.finished(cells, rows)
        self._done(InputReview(self._item.input_id, coverage, reason, tuple(comments), tuple(rows)))


def _tokens(text: str) -> int:
    return count_tokens(text, "").tokens


def _parse(reply: Reply) -> ParsedComments:
    return parse_comments(reply.content, finish_reason=reply.finish_reason)
