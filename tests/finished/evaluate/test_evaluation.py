"""Scores of a run whose checks and review have known skill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tasks.core.policy_settings import Policy
from tasks.core.records import CallRow, Comment, Coverage, Expected, Input, InputReview, Verdict
from tasks.finished.evaluate.evaluation import CheckUsage, Evaluation, score_run
from tasks.finished.evaluate.metrics import HITS, MatchCounts
from tasks.finished.evaluate.text import as_facts, as_markdown
from tasks.review.findings.clusters import cluster
from tasks.review.findings.policy import apply_policy

Make = Callable[..., Comment]

CODE = "".join(f"line {at}\n" for at in range(1, 61))
DEFECTS = tuple(Expected(None, line, line, category="bug") for line in (10, 20, 30, 40, 50))


def call_row(name: str, **fields: Any) -> CallRow:
    """A call of check a."""
    known = {"stage": "check", "name": "a", "part": 0, "model": "m", "status": "ok"}
    return CallRow(**{"input_id": name, **known, **fields})


def raised(make: Make, check: str, line: int, *, confirmed: bool) -> Comment:
    """A comment of one check on one line, with a verdict."""
    verdict = Verdict("r", "ok", "confirmed" if confirmed else "rejected", 8 if confirmed else 0)
    return make(
        comment_id=f"{check}{line}",
        check_model=check,
        start_line=line,
        end_line=line,
        existing_code=f"line {line}",
        verdict=verdict,
    )


def reviewed(
    name: str,
    expected: tuple[Expected, ...] | None,
    comments: list[Comment],
    coverage: Coverage = "complete",
) -> tuple[Input, InputReview]:
    """An input with its review, clustered and decided as in a run."""
    source = Input(name, CODE, expected=expected)
    decided = apply_policy(cluster(comments), Policy(), source)
    call = call_row(name, input_tokens=10, output_tokens=5, cost_usd=0.5)
    return source, InputReview(name, coverage, None, decided, (call,))


@pytest.fixture
def evaluation(comment: Make) -> Evaluation:
    """A finds 3 of 5 defects with 2 false alarms, b finds 1 more and 1 of a's; c is silent.

    On the clean input a raises 2 false alarms. The review rejects all false alarms but one, and
    one true finding.
    """
    defective = [
        raised(comment, "a", 10, confirmed=True),
        raised(comment, "a", 20, confirmed=True),
        raised(comment, "a", 30, confirmed=False),
        raised(comment, "a", 1, confirmed=False),
        raised(comment, "a", 5, confirmed=True),
        raised(comment, "b", 20, confirmed=True),
        raised(comment, "b", 40, confirmed=True),
    ]
    clean = [raised(comment, "a", line, confirmed=False) for line in (3, 6)]
    rows = [
        reviewed("1", DEFECTS, defective),
        reviewed("2", (), clean),
        reviewed("3", (), [], "failed"),
        reviewed("4", None, [raised(comment, "b", 7, confirmed=True)]),
    ]
    return score_run(iter(rows), ["a", "b", "c"])


def test_inputs_are_counted_apart(evaluation: Evaluation) -> None:
    """A failed input is not clean, and an unlabelled one is not scored."""
    counts = evaluation.scored_inputs, evaluation.unscored_inputs, evaluation.unlabelled_inputs
    assert counts == (2, 1, 1)


def test_union(evaluation: Evaluation) -> None:
    """An issue that two checks raise counts once; the review takes false alarms and one defect."""
    assert evaluation.union.by_place.before == MatchCounts(
        4, 4, 1, clean_inputs=1, false_on_clean=2
    )
    assert evaluation.union.by_place.after == MatchCounts(3, 1, 2, clean_inputs=1, false_on_clean=0)
    assert evaluation.union.by_place.before.false_per_clean_input == 2
    assert evaluation.union.by_place.after.false_per_clean_input == 0


def test_both_figures_are_given(comment: Make) -> None:
    """A remark of another kind is a hit by place and a false finding by place and matter."""
    label = Expected(None, 10, category="security", message="Password is logged in plain text")
    bare = Expected(None, 30)
    said = [raised(comment, "a", 10, confirmed=True), raised(comment, "b", 30, confirmed=True)]
    found = score_run(iter([reviewed("1", (label, bare), said)]), ["a", "b"])
    assert found.union.by_place.after == MatchCounts(2, 0, 0)
    assert found.union.by_place_and_matter.after == MatchCounts(1, 1, 1)
    assert [found.lost(name, "by_place") for name in "ab"] == [1, 1]
    assert [found.lost(name, "by_place_and_matter") for name in "ab"] == [0, 1]
    assert [found.spared(name, "by_place_and_matter") for name in "ab"] == [1, 0]
    assert (found.labels, found.labels_without_matter) == (2, 1)
    facts = as_facts(found, reviewed=True)
    shares = {hit: facts["union"][hit]["after_review"]["precision"]["value"] for hit in HITS}
    assert shares == {"by_place": 1.0, "by_place_and_matter": 0.5}
    text = as_markdown("r", found, reviewed=True)
    assert "## Scores by place\n" in text
    assert "## Scores by place and matter\n" in text
    assert "1 of 2 labels have neither message nor category" in text


def test_lift(evaluation: Evaluation) -> None:
    """The review's gain is the difference of the shares."""
    lift = evaluation.union.by_place.lift
    assert lift.precision == pytest.approx(3 / 4 - 4 / 8)
    assert lift.recall == pytest.approx(3 / 5 - 4 / 5)
    assert lift.f1 == pytest.approx(2 * 3 / (6 + 1 + 2) - 2 * 4 / (8 + 4 + 1))


def test_checks_alone(evaluation: Evaluation) -> None:
    """Each check is scored by its own comments; a silent one has missed everything."""
    a, b, c = (evaluation.checks[name] for name in "abc")
    assert a.alone.by_place.before == MatchCounts(3, 4, 2, 1, 2)
    assert a.alone.by_place.after == MatchCounts(2, 1, 3, 1, 0)
    assert b.alone.by_place.before == MatchCounts(2, 0, 3, 1, 0)
    assert c.alone.by_place.before == MatchCounts(0, 0, 5, 1, 0)
    assert c.alone.by_place.before.precision is None
    assert c.alone.by_place.lift.precision is None


def test_dropping_a_check(evaluation: Evaluation) -> None:
    """What only one check finds is lost without it, and what only it gets wrong is spared."""
    assert [evaluation.lost(name, "by_place") for name in "abc"] == [1, 1, 0]
    assert [evaluation.spared(name, "by_place") for name in "abc"] == [1, 0, 0]
    confirmed = [
        (evaluation.checks[n].confirmed, evaluation.checks[n].unique_confirmed) for n in "abc"
    ]
    assert confirmed == [(3, 2), (3, 2), (0, 0)]


def test_spending(evaluation: Evaluation) -> None:
    """Use is summed over a check's calls; silence costs nothing."""
    assert evaluation.checks["a"].spent == CheckUsage(4, 60, 2.0)
    assert evaluation.checks["b"].spent == CheckUsage(0, 0, 0.0)


def test_unknown_use_is_not_zero() -> None:
    """One answer without a price makes the sum unknown; a failed call without usage does not."""
    priced = call_row("i", input_tokens=1, output_tokens=1, cost_usd=1.0)
    failed = call_row("i", status="failed")
    free = call_row("i", input_tokens=1, output_tokens=1)
    assert CheckUsage().plus(priced).plus(failed) == CheckUsage(2, 2, 1.0)
    assert CheckUsage().plus(free).plus(priced) == CheckUsage(2, 4, None)
