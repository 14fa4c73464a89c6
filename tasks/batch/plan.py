"""Which questions go into a batch, of which app_id, in which files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.core.calls import Request
from tasks.core.quotas import AppId
from tasks.core.settings import Settings
from tasks.upstream.batches.questions import read_questions

__all__ = ["MOST_TRIES", "Group", "WantedQuestions", "group_questions", "questions_of", "want"]

MOST_TRIES = 2
"""Batches that a question is put into, before it goes online."""


@dataclass(frozen=True, slots=True)
class Group:
    """Questions to one model through one app_id."""

    app_id: AppId
    model: str
    share: int
    """Which part of the model's questions, of `shares`."""
    shares: int

    def takes(self, request: Request, key: str) -> bool:
        """Whether a question belongs to it."""
        return request.model == self.model and int(key[:8], 16) % self.shares == self.share


@dataclass(slots=True)
class WantedQuestions:
    """What the shards of a run ask, by key, without what other batches hold."""

    models: dict[str, str] = field(default_factory=dict)
    """Key -> model."""
    held: set[str] = field(default_factory=set)
    """Keys that are in open batches already."""

    def count(self, model: str) -> int:
        """Questions to a model."""
        return sum(one == model for one in self.models.values())


def want(
    files: Sequence[Path],
    holders: Callable[[Sequence[str]], Mapping[str, str]],
    tries: Counter[str],
) -> WantedQuestions:
    """What the question files ask; a question that batches have had often enough is left out."""
    wanted = WantedQuestions()
    for request in read_questions(files):
        key = request.key
        if tries[key] < MOST_TRIES:
            wanted.models[key] = request.model
    wanted.held = set(holders(list(wanted.models)))
    for key in wanted.held:
        del wanted.models[key]
    return wanted


def group_questions(
    wanted: WantedQuestions,
    settings: Settings,
    out: Collection[tuple[str, str]],
    *,
    again: bool = False,
) -> Iterator[Group]:
    """The groups that are worth a batch.

    `out` are pairs of alias and model for which no batch is made any more. What is asked `again`
    has to be worth one also where [batch] says always: a small rest goes online.
    """
    batch = settings.batch
    for model, count in Counter(wanted.models.values()).items():
        pool = [
            one
            for one in settings.batch_pool
            if one.serves(model) and (one.alias, model) not in out
        ]
        least = batch.min_calls if batch.use == "auto" or again else 1
        if not pool or count < least:
            continue
        shares = max(1, min(len(pool), count // batch.min_calls))
        for share, app_id in enumerate(pool[:shares]):
            yield Group(app_id, model, share, shares)


def questions_of(group: Group, files: Sequence[Path], wanted: WantedQuestions) -> Iterator[Request]:
    """The questions of a group, each once."""
    seen: set[str] = set()
    for request in read_questions(files):
        key = request.key
        if key in wanted.models and key not in seen and group.takes(request, key):
            seen.add(key)
            yield request
