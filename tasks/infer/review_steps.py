"""The review of one input's comments: which are asked about, in which calls, and what came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from tasks.core.calls import Reply
from tasks.core.canary_settings import CANARY
from tasks.core.check_settings import ReviewSettings
from tasks.core.records import CallRow, Comment, Input, Verdict
from tasks.infer.ask import Worker
from tasks.infer.fence import fenced_parse
from tasks.infer.query import Query
from tasks.review.inputs.tokens import count_tokens
from tasks.review.prompts import PromptForm, named, prompt_version, review_messages
from tasks.review.replies.contract import RawVerdict
from tasks.review.replies.replies import ParsedVerdicts, parse_verdicts

__all__ = ["CommentBatch", "Reviewed", "ask_batch", "plan_batches", "to_review", "with_verdicts"]

_SEVERE = frozenset({"critical", "high"})


@dataclass(frozen=True, slots=True)
class CommentBatch:
    """Comments of one input that go into one review call."""

    item: Input
    rendered: str
    number: int
    comments: tuple[Comment, ...]
    form: PromptForm


class Reviewed(NamedTuple):
    """Verdict per comment_id, and the rows of the calls that it took."""

    verdicts: dict[str, Verdict]
    rows: list[CallRow]


def to_review(comments: Sequence[Comment], settings: ReviewSettings, checks: int) -> list[Comment]:
    """The comments that the settings want a verdict on."""
    chosen = list(comments)
    if settings.scope == "canonical":
        chosen = [comment for comment in chosen if comment.comment_id == comment.cluster_id]
    if settings.when == "disagreement":
        chosen = [one for one in chosen if one.agreement < checks or one.severity in _SEVERE]
    return chosen


def plan_batches(
    item: Input,
    parts: Sequence[str],
    where: Mapping[str, int],
    comments: Sequence[Comment],
    size: int,
    *,
    form: PromptForm,
) -> list[CommentBatch]:
    """Calls of at most `size` comments, each beside the part of the input it is about.

    `where` gives the part of each comment_id.
    """
    batches: list[CommentBatch] = []
    for part, rendered in enumerate(parts):
        here = [comment for comment in comments if where[comment.comment_id] == part]
        for first in range(0, len(here), size):
            chunk = tuple(here[first : first + size])
            batches.append(CommentBatch(item, rendered, len(batches), chunk, form))
    return batches


def ask_batch(asker: Worker, settings: ReviewSettings, batch: CommentBatch) -> Reviewed:
    """One call for the batch, and one more for each comment that the reply left out."""
    first = _ask(asker, settings, batch)
    if len(batch.comments) == 1 or not first.verdicts:
        return _complete(first, batch, settings)
    verdicts, rows = dict(first.verdicts), list(first.rows)
    for comment in batch.comments:
        if comment.comment_id not in verdicts:
            single = _ask(asker, settings, replace(batch, comments=(comment,)))
            verdicts |= single.verdicts
            rows += single.rows
    return _complete(Reviewed(verdicts, rows), batch, settings)


def _ask(asker: Worker, settings: ReviewSettings, batch: CommentBatch) -> Reviewed:
    names = {name: one.comment_id for name, one in named(batch.comments).items()}
    messages = review_messages(batch.item, batch.rendered, batch.comments, batch.form)
    query = Query(
        input_id=batch.item.input_id,
        stage="review",
        name="review",
        part=batch.number,
        messages=messages,
        prompt_version=prompt_version("review", batch.form),
        settings=settings,
        counted=count_tokens(messages, settings.model),
        anew=CANARY in batch.item.extra,
    )

    def parse(reply: Reply) -> ParsedVerdicts:
        return parse_verdicts(reply.content, names, finish_reason=reply.finish_reason)

    broken = partial(asker.broken, query.input_id)
    answer = asker.ask(query, fenced_parse(parse, broken))
    if answer.parsed is None:
        status = "parse_failed" if answer.row.parse_mode == "failed" else "call_failed"
        failed = {one: Verdict(settings.model, status) for one in names.values()}  # type: ignore[arg-type]
        return Reviewed(failed, [answer.row])
    verdicts = {one: _verdict(settings, raw) for one, raw in answer.parsed.items.items()}
    return Reviewed(verdicts, [answer.row])


def _complete(reviewed: Reviewed, batch: CommentBatch, settings: ReviewSettings) -> Reviewed:
    missing = {
        comment.comment_id: Verdict(settings.model, "missing")
        for comment in batch.comments
        if comment.comment_id not in reviewed.verdicts
    }
    return Reviewed(reviewed.verdicts | missing, reviewed.rows)


def _verdict(settings: ReviewSettings, raw: RawVerdict) -> Verdict:
    return Verdict(
        review_model=settings.model,
        status="ok",
        decision=raw.decision,
        score=raw.score,
        reason=raw.reason,
        evidence=raw.evidence,
        corrected_severity=raw.corrected_severity,
        corrected_start_line=raw.corrected_start_line,
        corrected_end_line=raw.corrected_end_line,
        duplicate_of=raw.duplicate_of,
    )


def with_verdicts(comments: Sequence[Comment], verdicts: Mapping[str, Verdict]) -> list[Comment]:
    """Each comment with the verdict on it, if there is one."""
    return [replace(one, verdict=verdicts.get(one.comment_id)) for one in comments]
