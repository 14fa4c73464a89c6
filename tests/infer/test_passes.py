"""Second passes are counted per model and shard, and lose no money."""

from __future__ import annotations

from typing import Any

from tasks.core.records import CallRow, InputReview
from tasks.core.settings import load_settings
from tasks.infer.passes import Passes, with_earlier_calls

POOL = '[app_ids.a]\nkey = "env:K"\nbase_url = "http://h/v1"\nquota = []\n'
SETTINGS = load_settings(
    'mode = "check"\n[[check]]\nname = "one"\nmodel = "m"\n[[check]]\nname = "two"\nmodel = "n"\n'
    + POOL
)


def review(number: int, name: str = "one", **fields: Any) -> InputReview:
    given = {"status": "failed", "reason": "unparseable", "attempts": 2} | fields
    model = {"one": "m", "two": "n"}[name]
    call = CallRow(f"i{number}", "check", name, 0, model, **given)
    return InputReview(f"i{number}", "partial", None, (), (call,))


def test_it_does_not_matter_which_slice_a_reply_is_in() -> None:
    """Ten of a hundred are asked again, one a slice or all in one slice."""
    spread, together = Passes(SETTINGS, 100), Passes(SETTINGS, 100)
    alone = [spread.worth_another([review(number)]) for number in range(10)]
    assert set().union(*alone) == together.worth_another(map(review, range(10)))
    assert len(alone) == sum(map(len, alone)) == 10


def test_a_model_that_keeps_failing_is_not_asked_for_ever() -> None:
    """Of a hundred unreadable replies of a hundred, ten get another pass; other models keep theirs."""
    passes = Passes(SETTINGS, 100)
    assert len(passes.worth_another(map(review, range(100)))) == 10
    assert passes.worth_another([review(1, "two")]) == {"i1"}


def test_one_of_nine_is_worth_it() -> None:
    """A shard that is too small for a tenth asks once more all the same."""
    assert Passes(SETTINGS, 9).worth_another([review(1)]) == {"i1"}


def test_what_the_pass_before_paid_is_kept() -> None:
    """Its failed calls are part of the later rows; what is there again counts once."""
    before = review(1, attempts=2, input_tokens=100, output_tokens=9, cost_usd=0.1, trace_id="t1")
    later = review(
        1, status="ok", reason=None, attempts=1, input_tokens=50, cost_usd=0.2, trace_id="t2"
    )
    (row,) = with_earlier_calls(later, before).calls
    assert (row.status, row.attempts, row.input_tokens, row.output_tokens) == ("ok", 3, 150, 9)
    assert round(row.cost_usd or 0, 6) == 0.3
    assert with_earlier_calls(later, later) == later
