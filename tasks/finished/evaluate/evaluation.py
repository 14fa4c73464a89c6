"""
The worth of a run: the union of its checks, each check alone, and what the review adds.

Every figure comes twice, before review (all comments) and after it (all but dropped ones). Their
difference is the filter lift: it tells whether the review model earns its cost. And every figure is
given for both meanings of a hit, by place and by place and matter (see `matching`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from tasks.core.records import CallRow, Comment, Input, InputReview
from tasks.core.stats import Proportion
from tasks.finished.evaluate.matter import says_nothing
from tasks.finished.evaluate.metrics import (
    HITS,
    Hit,
    MatchCounts,
    count_matches,
    group_by_cluster,
    is_scored,
)

__all__ = [
    "CheckScore",
    "CheckUsage",
    "Evaluation",
    "HitScores",
    "Lift",
    "ReviewScores",
    "score_run",
]


_N = TypeVar("_N", int, float)
Score = Callable[[Sequence[Comment]], "HitScores"]
_NOTHING = MatchCounts()


@dataclass(frozen=True, slots=True)
class Lift:
    """After minus before review, in shares; None where either is unknown."""

    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class ReviewScores:
    """One set of comments before and after review, for one meaning of a hit."""

    before: MatchCounts = _NOTHING
    after: MatchCounts = _NOTHING

    def __add__(self, other: ReviewScores) -> ReviewScores:
        return ReviewScores(self.before + other.before, self.after + other.after)

    @property
    def lift(self) -> Lift:
        """What the review changed."""
        return Lift(
            _gain(self.before.precision, self.after.precision),
            _gain(self.before.recall, self.after.recall),
            _gain(self.before.f1, self.after.f1),
        )


_UNSCORED = ReviewScores()


@dataclass(frozen=True, slots=True)
class HitScores:
    """One set of comments, scored for both meanings of a hit."""

    by_place: ReviewScores = _UNSCORED
    by_place_and_matter: ReviewScores = _UNSCORED

    def __add__(self, other: HitScores) -> HitScores:
        return HitScores(*(self.of(hit) + other.of(hit) for hit in HITS))

    def of(self, hit: Hit) -> ReviewScores:
        """The scores for one meaning of a hit."""
        return self.by_place if hit == "by_place" else self.by_place_and_matter


@dataclass(frozen=True, slots=True)
class CheckUsage:
    """Calls, tokens and cost of a check, over all inputs; None as soon as one answer's use is unknown."""

    calls: int = 0
    tokens: int | None = 0
    cost_usd: float | None = 0.0

    def plus(self, call: CallRow) -> CheckUsage:
        """The sum with one more call; one that failed without a usage counts as a call only."""
        if call.status != "ok" and call.input_tokens is None:
            return CheckUsage(self.calls + 1, self.tokens, self.cost_usd)
        used = _sum(call.input_tokens, call.output_tokens)
        return CheckUsage(
            self.calls + 1, _sum(self.tokens, used), _sum(self.cost_usd, call.cost_usd)
        )


_NO_SCORES = HitScores()
_UNSPENT = CheckUsage()


@dataclass(frozen=True, slots=True)
class CheckScore:
    """One check: alone, and what the union would be without it."""

    alone: HitScores = _NO_SCORES
    others: HitScores = _NO_SCORES
    """The union of all other checks."""
    confirmed: int = 0
    """Findings of this check, over all inputs, that the review confirmed."""
    unique_confirmed: int = 0
    """Those that no other check raised: what dropping it would lose, labels or not."""
    spent: CheckUsage = _UNSPENT
    """What dropping it would save."""


@dataclass(slots=True)
class Evaluation:
    """The figures of one run; `lost` and `spared` say what dropping a check would do."""

    scored_inputs: int = 0
    unscored_inputs: int = 0
    """Labelled, and not reviewed: a failed input is neither a miss nor clean."""
    unlabelled_inputs: int = 0
    labels: int = 0
    """Defects of the scored inputs."""
    labels_without_matter: int = 0
    """Those with neither a message nor a category: their place has to do for both figures."""
    union: HitScores = field(default_factory=HitScores)
    checks: dict[str, CheckScore] = field(default_factory=dict)

    def lost(self, check: str, hit: Hit) -> int:
        """Defects, after review, that only this check finds."""
        return self.union.of(hit).after.true - self.checks[check].others.of(hit).after.true

    def spared(self, check: str, hit: Hit) -> int:
        """False positives, after review, that only this check brings."""
        return self.union.of(hit).after.false - self.checks[check].others.of(hit).after.false


def score_run(rows: Iterable[tuple[Input, InputReview]], checks: Sequence[str]) -> Evaluation:
    """Score a finished run in one pass over its inputs.

    `checks` names all checks of the run: one that raised nothing has missed everything, and only
    the caller knows that it was there.
    """
    result = Evaluation(checks={name: CheckScore() for name in checks})
    for source, review in rows:
        labelled = is_scored(source, review)
        result.scored_inputs += labelled
        result.unscored_inputs += source.expected is not None and not labelled
        result.unlabelled_inputs += source.expected is None
        if labelled:
            labels = source.expected or ()
            result.labels += len(labels)
            result.labels_without_matter += sum(map(says_nothing, labels))
        score = partial(_score, source) if labelled else _unscored
        result.union += score(review.comments)
        for name, so_far in result.checks.items():
            result.checks[name] = _add(so_far, name, review, score)
    return result


def _add(so_far: CheckScore, name: str, review: InputReview, score: Score) -> CheckScore:
    own = [comment for comment in review.comments if comment.check_model == name]
    others = [comment for comment in review.comments if comment.check_model != name]
    confirmed = _confirmed(own, review.comments)
    unique = [finding for finding in confirmed if all(c.check_model == name for c in finding)]
    spent = so_far.spent
    for call in review.calls:
        if call.stage == "check" and call.name == name and call.status != "skipped":
            spent = spent.plus(call)
    return CheckScore(
        alone=so_far.alone + score(own),
        others=so_far.others + score(others),
        confirmed=so_far.confirmed + len(confirmed),
        unique_confirmed=so_far.unique_confirmed + len(unique),
        spent=spent,
    )


def _score(source: Input, comments: Sequence[Comment]) -> HitScores:
    kept = [comment for comment in comments if comment.outcome != "dropped"]
    before, after = count_matches(source, comments), count_matches(source, kept)
    return HitScores(*(ReviewScores(before[hit], after[hit]) for hit in HITS))


def _unscored(_: Sequence[Comment]) -> HitScores:
    return _NO_SCORES


def _confirmed(own: Sequence[Comment], comments: Sequence[Comment]) -> list[Sequence[Comment]]:
    """The whole clusters in which one of `own` is confirmed."""
    good = {c.comment_id for c in own if c.verdict and c.verdict.decision == "confirmed"}
    return [f for f in group_by_cluster(comments) if any(c.comment_id in good for c in f)]


def _gain(before: Proportion | None, after: Proportion | None) -> float | None:
    return None if before is None or after is None else after.value - before.value


def _sum(one: _N | None, other: _N | None) -> _N | None:
    return None if one is None or other is None else one + other
