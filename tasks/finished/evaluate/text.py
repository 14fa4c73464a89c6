"""An evaluation as facts for JSON, and as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tasks.core.stats import Proportion
from tasks.finished.evaluate.evaluation import CheckScore, Evaluation, Lift, Scored
from tasks.finished.evaluate.metrics import MatchCounts
from tasks.report.markdown import markdown_table

__all__ = ["EvaluationTable", "as_facts", "as_markdown", "evaluation_tables", "verdict"]

ALL = "all checks"
"""What the union is called."""


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
            "clean": result.union.before.clean_inputs,
            "labelled_not_reviewed": result.unscored_inputs,
            "unlabelled": result.unlabelled_inputs,
        },
        "reviewed": reviewed,
        "union": _scored(result.union),
        "checks": {name: _check(result, name, one) for name, one in result.checks.items()},
    }


def _scored(scored: Scored) -> dict[str, Any]:
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
    return {
        **_scored(one.alone),
        "confirmed": one.confirmed,
        "unique_confirmed": one.unique_confirmed,
        "dropping_it": {
            "loses_defects": result.lost(name),
            "spares_false": result.spared(name),
            "saves": asdict(one.spent),
        },
    }


def verdict(result: Evaluation) -> str:
    """The inputs in one sentence."""
    clean = result.union.before.clean_inputs
    text = f"{result.scored_inputs:,} labelled inputs scored, {clean:,} of them known to be clean"
    if result.unscored_inputs:
        text += f"; {result.unscored_inputs:,} labelled ones were not reviewed and do not count"
    if result.unlabelled_inputs:
        text += f"; {result.unlabelled_inputs:,} have no labels"
    return f"{text}."


def evaluation_tables(result: Evaluation, *, reviewed: bool) -> list[EvaluationTable]:
    """Scores, what the review changes if there was one, and what each check is worth."""
    found = [_scores(result, reviewed=reviewed)]
    if reviewed:
        found.append(_lifts(result))
    return [*found, _worth(result)]


def as_markdown(run_id: str, result: Evaluation, *, reviewed: bool) -> str:
    """The tables in the order of `tables`."""
    parts = [f"# Evaluation of run {run_id}", verdict(result)]
    for one in evaluation_tables(result, reviewed=reviewed):
        parts += [f"## {one.title}", one.note, markdown_table(one.head, one.rows)]
    return "\n\n".join(parts) + "\n"


def _everyone(result: Evaluation) -> Iterator[tuple[str, Scored]]:
    yield ALL, result.union
    yield from ((name, one.alone) for name, one in result.checks.items())


def _scores(result: Evaluation, *, reviewed: bool) -> EvaluationTable:
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
    for name, scored in _everyone(result):
        rows.append(_score_row(name, "before" if reviewed else "none", scored.before))
        if reviewed:
            rows.append(_score_row(name, "after", scored.after))
    note = (
        "A finding is a cluster of comments; it is true when it stands for a labelled defect, one to "
        "one. Shares have 95 % intervals. False per clean: false findings per input known to be clean."
    )
    return EvaluationTable("Scores", note, head, rows)


def _score_row(name: str, review: str, tally: MatchCounts) -> tuple[Any, ...]:
    shares = map(_share, (tally.precision, tally.recall, tally.f1))
    each = tally.false_per_clean_input
    noise = None if each is None else f"{each:.2f}"
    return (name, review, tally.true, tally.false, tally.missed, *shares, noise)


def _lifts(result: Evaluation) -> EvaluationTable:
    note = "What the review adds to each share, in percentage points."
    rows = [(name, *_points(scored.lift)) for name, scored in _everyone(result)]
    return EvaluationTable("Filter lift", note, ("who", "precision", "recall", "F1"), rows)


def _points(lift: Lift) -> Sequence[str | None]:
    gains = (lift.precision, lift.recall, lift.f1)
    return [None if gain is None else f"{gain * 100:+.1f}" for gain in gains]


def _worth(result: Evaluation) -> EvaluationTable:
    head = (
        "check", "confirmed", "only by it", "loses defects", "spares false", "saves calls",
        "saves tokens", "saves $",
    )  # fmt: skip
    rows = [
        (name, one.confirmed, one.unique_confirmed, result.lost(name), result.spared(name), *_saved(one))
        for name, one in result.checks.items()
    ]  # fmt: skip
    note = (
        "Confirmed: findings that the review confirms, with labels or without. The rest is what "
        "dropping the check would do: defects that only it finds, false findings that only it brings."
    )
    return EvaluationTable("What each check is worth", note, head, rows)


def _saved(one: CheckScore) -> tuple[Any, ...]:
    cost = one.spent.cost_usd
    return one.spent.calls, one.spent.tokens, None if cost is None else f"{cost:,.4f}"


def _share(share: Proportion | None) -> str | None:
    if share is None:
        return None
    return f"{share.value * 100:.1f} ({share.low * 100:.0f} to {share.high * 100:.0f})"
