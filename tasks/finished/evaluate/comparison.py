"""
Two runs of the same labelled inputs, side by side: what another setting, model or prompt changed.

The runs saw the same inputs, so their figures go up and down together, and two intervals that
overlap prove nothing. Here inputs are drawn anew from those that both runs reviewed, 2,000 times,
each time the same ones for both, and the differences of precision, recall and F1 are sorted: the
middle 95 % are the interval (the paired bootstrap: B. Efron, Annals of Statistics 7 (1979), 1-26;
for scores like F1, P. Koehn, EMNLP 2004, 388-395). Whole inputs are drawn, because findings of one
input are not independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.errors import SourceError
from tasks.core.paths import RunPaths
from tasks.core.records import Input, InputReview
from tasks.finished.evaluate.metrics import HITS, Hit, MatchCounts, count_matches, is_scored
from tasks.finished.evaluate.text import EvaluationTable
from tasks.outputs.stored import input_of, review_of
from tasks.outputs.tables import read_manifest, read_reviews

__all__ = ["Difference", "RunComparison", "compare", "compare_runs", "comparison_table"]

DRAWS = 2000
_AT_ONCE = 50
_MIDDLE = (2.5, 97.5)
_NAMES = ("precision", "recall", "F1")
_Counts = npt.NDArray[np.float64]
_Scored = tuple[Input, InputReview]


@dataclass(frozen=True, slots=True)
class Difference:
    """A share in both runs, and the difference with its 95 % interval; None: unknown in one of them."""

    this: float | None
    other: float | None
    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def is_beyond_chance(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Two runs over the inputs that both reviewed."""

    inputs: int
    left_out: int
    """Labelled inputs that only one of them has, or reviewed, or that have other labels there."""
    figures: Mapping[Hit, Mapping[str, Difference]]
    """By precision, recall and F1, after review."""
    tokens: tuple[int, int]
    """Tokens in of those inputs' calls, journaled ones included: this run's and the other one's."""


def compare_runs(this: RunPaths, other: RunPaths) -> tuple[RunComparison, dict[str, Any]]:
    """Compare two finished runs; the second value is the comparison as facts for JSON.

    Raises:
        OutputError: one of them is no finished run.
        SourceError: they have no labelled input in common.
    """
    ids = [read_manifest(paths)["run_id"] for paths in (this, other)]
    found = compare(_rows(this), _rows(other))
    if not found.inputs:
        msg = (
            f"{this.place} and {other.place} have no labelled input in common that both reviewed: "
            "compare runs of the same source, whose rows have an input_id and a field `expected`"
        )
        raise SourceError(msg)
    return found, {"this": ids[0], "other": ids[1], **asdict(found)}


def compare(this: Iterable[_Scored], other: Iterable[_Scored], seed: int = 0) -> RunComparison:
    """Compare two runs; the same runs and seed give the same figures.

    Memory holds the counts of one run's labelled inputs and the pairs of both.
    """
    known = {one.input_id: (one.expected, review) for one, review in _labelled(other)}
    counts: dict[Hit, list[list[int]]] = {hit: [] for hit in HITS}
    tokens, left_out = [0, 0], 0
    for source, review in _labelled(this):
        expected, against = known.pop(source.input_id, (None, None))
        if against is None or expected != source.expected:
            left_out += 1
            continue
        pair = [_kept(source, one) for one in (review, against)]
        for hit in HITS:
            counts[hit].append(
                [n for one in pair for n in (one[hit].true, one[hit].false, one[hit].missed)]
            )
        for place, one in enumerate((review, against)):
            tokens[place] += sum(call.input_tokens or 0 for call in one.calls)
    figures = {hit: _differences(np.array(counts[hit], dtype=float), seed) for hit in HITS}
    pairs = len(counts["by_place"])
    return RunComparison(pairs, left_out + len(known), figures, (tokens[0], tokens[1]))


def comparison_table(found: RunComparison, facts: Mapping[str, Any]) -> EvaluationTable:
    """The differences as a table for people."""
    note = (
        f"Over {found.inputs:,} labelled inputs that both runs reviewed, paired, after review; "
        f"{found.left_out:,} others do not count. The interval of the difference has 95 % (paired "
        "bootstrap over inputs); one that holds 0 proves no difference."
    )
    rows: list[tuple[Any, ...]] = [
        (
            f"{name} %, {hit.replace('_', ' ')}",
            _percent(one.other),
            _percent(one.this),
            *_interval(one),
        )
        for hit, figures in found.figures.items()
        for name, one in figures.items()
    ]
    mine, others = found.tokens
    rows.append(("tokens in", others, mine, f"{mine - others:+,}", "", ""))
    head = (
        "figure",
        str(facts["other"]),
        str(facts["this"]),
        "difference",
        "95 %",
        "beyond chance",
    )
    return EvaluationTable("Against another run", note, head, rows)


def _rows(paths: RunPaths) -> Iterator[_Scored]:
    for row in read_reviews(paths):
        yield input_of(row, ""), review_of(row)


def _labelled(rows: Iterable[_Scored]) -> Iterator[_Scored]:
    return ((source, review) for source, review in rows if is_scored(source, review))


def _kept(source: Input, review: InputReview) -> dict[Hit, MatchCounts]:
    return count_matches(source, [one for one in review.comments if one.outcome != "dropped"])


def _differences(counts: _Counts, seed: int) -> dict[str, Difference]:
    """`counts` has a row per input: true, false, missed of this run, then of the other one."""
    if not len(counts):
        return {}
    whole = _shares(counts.sum(axis=0, keepdims=True))[0]
    drawn = np.concatenate(list(_drawn(counts, seed)))
    return {name: _difference(whole[place], drawn[:, place]) for place, name in enumerate(_NAMES)}


def _drawn(counts: _Counts, seed: int) -> Iterator[_Counts]:
    """Shares of DRAWS samples, a few at a time: memory does not grow with their number."""
    random = np.random.default_rng(seed)
    size = len(counts)
    for _ in range(DRAWS // _AT_ONCE):
        weights = random.multinomial(size, np.full(size, 1 / size), size=_AT_ONCE)
        yield _shares(weights @ counts)


def _shares(sums: _Counts) -> _Counts:
    """Per sample: precision, recall and F1, each of this run and of the other; NaN where unknown."""
    true, false, missed = (sums[:, [place, place + 3]] for place in range(3))
    wholes = (true + false, true + missed, true + (false + missed) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([np.where(whole > 0, true / whole, np.nan) for whole in wholes], axis=1)


def _difference(whole: _Counts, drawn: _Counts) -> Difference:
    this, other = (None if np.isnan(one) else float(one) for one in whole)
    if this is None or other is None:
        return Difference(this, other, None)
    gains = drawn[:, 0] - drawn[:, 1]
    known = gains[~np.isnan(gains)]
    low, high = np.percentile(known, _MIDDLE)
    return Difference(this, other, this - other, float(low), float(high))


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share * 100:.1f}"


def _interval(one: Difference) -> tuple[str | None, str | None, str]:
    if one.value is None or one.low is None or one.high is None:
        return None, None, ""
    span = f"{one.low * 100:+.1f} to {one.high * 100:+.1f}"
    return f"{one.value * 100:+.1f}", span, "yes" if one.is_beyond_chance else "no"
