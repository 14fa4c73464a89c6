"""An evaluation as facts for JSON, and as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tasks.core.stats import Proportion
from tasks.finished.evaluate.evaluation import CheckScore, Evaluation, HitScores, Lift, ReviewScores
from tasks.finished.evaluate.metrics import HITS, Hit, MatchCounts
from tasks.report.markdown import markdown_table

__all__ = ["EvaluationTable", "as_facts", "as_markdown", "evaluation_tables", "verdict"]

ALL = "all checks"
"""What the union is called."""
_WORDS: Mapping[Hit, str] = {"by_place": "by place", "by_place_and_matter": "by place and matter"}
_NOTES: Mapping[Hit, str] = {
    "by_place": (
        "A finding is a cluster of comments; here it is true when it is at the place of a labelled "
        "defect, whatever it says there, one to one. Shares have 95 % intervals. False per clean: "
        "false findings per input known to be clean."
    ),
    "by_place_and_matter": (
        "Here a finding is true when it is at the place of a labelled defect and means it: the words "
        "of its title and message overlap with the label's (at least 28 % of the shorter text's), or "
        "it has the category of a label without a message."
    ),
}


@dataclass(frozen=True, slots=True)
class EvaluationTable:
    """A table of figures; a cell is text, a number, or None where a figure is unknown."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def as_facts(result: Evaluation, *, reviewed: bool) -> dict[str, Any]:
    """Counts as numbers, shares as {value, low, high} between 0 and 1, unknown as null."""
    return {
        "inputs": {
            "scored": result.scored_inputs,
            "clean": _clean(result),
            "labelled_not_reviewed": result.unscored_inputs,
            "unlabelled": result.unlabelled_inputs,
        },
        "labels": {"all": result.labels, "without_matter": result.labels_without_matter},
        "reviewed": reviewed,
        "union": _figures(result.union),
        "checks": {name: _check(result, name, one) for name, one in result.checks.items()},
    }


def _clean(result: Evaluation) -> int:
    return result.union.by_place.before.clean_inputs


def _figures(figures: HitScores) -> dict[str, Any]:
    return {hit: _scored(figures.of(hit)) for hit in HITS}


def _scored(scored: ReviewScores) -> dict[str, Any]:
    return {
        "before_review": _tally(scored.before),
        "after_review": _tally(scored.after),
        "filter_lift": asdict(scored.lift),
    }


def _tally(tally: MatchCounts) -> dict[str, Any]:
    shares = {"precision": tally.precision, "recall": tally.recall, "f1": tally.f1}
    return {
        **asdict(tally),
        **{name: None if one is None else asdict(one) for name, one in shares.items()},
        "false_per_clean_input": tally.false_per_clean_input,
    }


def _check(result: Evaluation, name: str, one: CheckScore) -> dict[str, Any]:
    changes = {
        hit: {"loses_defects": result.lost(name, hit), "spares_false": result.spared(name, hit)}
        for hit in HITS
    }
    return {
        **_figures(one.alone),
        "confirmed": one.confirmed,
        "unique_confirmed": one.unique_confirmed,
        "dropping_it": {**changes, "saves": asdict(one.spent)},
    }


def verdict(result: Evaluation) -> str:
    """The inputs in one sentence."""
    text = f"{result.scored_inputs:,} labelled inputs scored, {_clean(result):,} of them known to be clean"
    if result.unscored_inputs:
        text += f"; {result.unscored_inputs:,} labelled ones were not reviewed and do not count"
    if result.unlabelled_inputs:
        text += f"; {result.unlabelled_inputs:,} have no labels"
    if result.labels_without_matter:
        text += (
            f"; {result.labels_without_matter:,} of {result.labels:,} labels have neither message nor "
            "category and are matched by place alone"
        )
    return f"{text}."


def evaluation_tables(result: Evaluation, *, reviewed: bool) -> list[EvaluationTable]:
    """Scores, what the review changes if there was one, and what each check is worth."""
    found = [_scores(result, hit, reviewed=reviewed) for hit in HITS]
    if reviewed:
        found.append(_lifts(result))
    return [*found, _worth(result), _dropping(result)]


def as_markdown(run_id: str, result: Evaluation, *, reviewed: bool) -> str:
    """The tables in the order of `evaluation_tables`."""
    parts = [f"# Evaluation of run {run_id}", verdict(result)]
    for one in evaluation_tables(result, reviewed=reviewed):
        parts += [f"## {one.title}", one.note, markdown_table(one.head, one.rows)]
    return "\n\n".join(parts) + "\n"


def _everyone(result: Evaluation) -> Iterator[tuple[str, HitScores]]:
    yield ALL, result.union
    yield from ((name, one.alone) for name, one in result.checks.items())


def _scores(result: Evaluation, hit: Hit, *, reviewed: bool) -> EvaluationTable:
    head = (
        "who",
        "review",
        "true",
        "false",
        "missed",
        "precision %",
        "recall %",
        "F1 %",
        "false per clean",
    )
    rows = []
    for name, figures in _everyone(result):
        scored = figures.of(hit)
        rows.append(_score_row(name, "before" if reviewed else "none", scored.before))
        if reviewed:
            rows.append(_score_row(name, "after", scored.after))
    return EvaluationTable(f"Scores {_WORDS[hit]}", _NOTES[hit], head, rows)


def _score_row(name: str, review: str, tally: MatchCounts) -> tuple[Any, ...]:
    shares = map(_share, (tally.precision, tally.recall, tally.f1))
    each = tally.false_per_clean_input
    noise = None if each is None else f"{each:.2f}"
    return (name, review, tally.true, tally.false, tally.missed, *shares, noise)


def _lifts(result: Evaluation) -> EvaluationTable:
    note = "What the review adds to each share, in percentage points."
    rows = [
        (name, _WORDS[hit], *_points(figures.of(hit).lift))
        for name, figures in _everyone(result)
        for hit in HITS
    ]
    return EvaluationTable("Filter lift", note, ("who", "hits", "precision", "recall", "F1"), rows)


def _points(lift: Lift) -> Sequence[str | None]:
    gains = (lift.precision, lift.recall, lift.f1)
    return [None if gain is None else f"{gain * 100:+.1f}" for gain in gains]


def _worth(result: Evaluation) -> EvaluationTable:
    head = ("check", "confirmed", "only by it", "saves calls", "saves tokens", "saves $")
    rows = [
        (name, one.confirmed, one.unique_confirmed, *_saved(one))
        for name, one in result.checks.items()
    ]
    note = (
        "Confirmed: findings that the review confirms, with labels or without. Saves: the calls, "
        "tokens and cost without the check."
    )
    return EvaluationTable("What each check is worth", note, head, rows)


def _dropping(result: Evaluation) -> EvaluationTable:
    rows = [
        (name, _WORDS[hit], result.lost(name, hit), result.spared(name, hit))
        for name in result.checks
        for hit in HITS
    ]
    note = "Without the check: defects that only it finds, false findings that only it brings."
    head = ("check", "hits", "loses defects", "spares false")
    return EvaluationTable("What dropping a check changes", note, head, rows)


def _saved(one: CheckScore) -> tuple[Any, ...]:
    cost = one.spent.cost_usd
    return one.spent.calls, one.spent.tokens, None if cost is None else f"{cost:,.4f}"


def _share(share: Proportion | None) -> str | None:
    if share is None:
        return None
    return f"{share.value * 100:.1f} ({share.low * 100:.0f} to {share.high * 100:.0f})"
