"""What a run paid for is in its rows, once, whatever happened to the calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deployments.sandbox import Sandbox

Reviewer = Callable[..., list[dict[str, Any]]]

ROW = {"input_id": "r", "content": "x = 1\n"}
CHECKS = (
    'mode = "check"\n[[check]]\nname = "one"\nmodel = "c1"\n[[check]]\nname = "two"\nmodel = "c2"\n'
)
PRICES = "[prices.c1]\ninput = 1.0\noutput = 1.0\n[prices.c2]\ninput = 1.0\noutput = 1.0\n"
CONFIG = CHECKS + PRICES


def spent(reviews: list[dict[str, Any]]) -> int:
    """Tokens of all rows that are not from the journal."""
    rows = [call for review in reviews for call in review["calls"] if not call["journaled"]]
    return sum((row["input_tokens"] or 0) + (row["output_tokens"] or 0) for row in rows)


def served(sandbox: Sandbox) -> int:
    """Tokens of all replies that the server sent with status 200."""
    rows = [row for row in sandbox.log() if row["status"] == 200]
    return sum(row["prompt_tokens"] + row["completion_tokens"] for row in rows)


def test_a_second_pass_is_not_the_journal(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """The check that was answered in the first pass stays paid for by this run."""
    sandbox.control(script=[{"fault": "status_500", "model": "c2", "times": 4}])
    reviews = review_rows([ROW], CONFIG)
    assert [call["journaled"] for call in reviews[0]["calls"]] == [False, False]
    assert spent(reviews) == served(sandbox)


def test_a_shard_that_starts_anew_paid_itself(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """The same run meets its own answers as paid, the next run as journaled."""
    first = review_rows([ROW], CONFIG, run_id="tonight")
    again = review_rows([ROW], CONFIG, run_id="tonight")
    assert spent(first) == spent(again) == served(sandbox)
    assert spent(review_rows([ROW], CONFIG, run_id="tomorrow")) == 0
    assert sandbox.stats()["requests"] == 2


def test_the_same_question_is_paid_for_once(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """Two inputs with one content are two rows, one of which is from the journal."""
    reviews = review_rows([ROW, ROW | {"input_id": "s"}], CONFIG, threads=1)
    assert spent(reviews) == served(sandbox)
    assert sum(call["journaled"] for review in reviews for call in review["calls"]) == 2


def test_unreadable_replies_of_all_passes_are_counted(
    sandbox: Sandbox, review_rows: Reviewer
) -> None:
    """Four replies in prose, two a pass, are four attempts and their tokens."""
    sandbox.control(script=[{"fault": "prose", "model": "c1", "times": 4}])
    reviews = review_rows([ROW], CONFIG)
    row = reviews[0]["calls"][0]
    assert (row["status"], row["attempts"]) == ("failed", 4)
    assert spent(reviews) == served(sandbox)
    assert row["cost_usd"] is not None


def test_a_first_reply_counts_when_the_second_ask_fails(
    sandbox: Sandbox, review_rows: Reviewer
) -> None:
    """Prose that was paid for, then a refusal of the second ask: the prose is in the row."""
    sandbox.control(
        script=[
            {"fault": "prose", "model": "c1", "times": 1},
            {"fault": "status_400", "model": "c1", "times": 1},
        ]
    )
    reviews = review_rows([ROW], CONFIG)
    assert reviews[0]["calls"][0]["status"] == "failed"
    assert spent(reviews) == served(sandbox)


def test_empty_and_filtered_replies_are_counted(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """Replies with status 200 and nothing in them cost what they say."""
    sandbox.control(
        script=[
            {"fault": "null_content", "model": "c1", "times": 1},
            {"fault": "empty_choices", "model": "c1", "times": 1},
            {"fault": "content_filter", "model": "c2", "times": 1},
        ]
    )
    reviews = review_rows([ROW], CONFIG)
    assert [call["status"] for call in reviews[0]["calls"]] == ["ok", "failed"]
    assert spent(reviews) == served(sandbox) > 0


def test_attempts_of_calls_that_nobody_may_answer_are_in_their_rows(
    sandbox: Sandbox, review_rows: Reviewer
) -> None:
    """A key that is out, a model that is closed: each request that was sent is in one row."""
    rows = [ROW | {"input_id": f"r{n}", "content": f"x = {n}\n"} for n in range(30)]
    sandbox.control(keys={"a": {"key": "key-a", "state": "revoked"}})
    out = review_rows(rows, CONFIG)
    calls = [call for review in out for call in review["calls"]]
    assert "no_keys_left" in {call["reason"] for call in calls}
    assert sum(call["attempts"] for call in calls) == sandbox.stats()["requests"]

    sandbox.reset()
    sandbox.control(faults={"status_400": 1.0})
    closed = review_rows(rows, CONFIG)
    calls = [call for review in closed for call in review["calls"]]
    assert "refused_by_endpoint" in {call["reason"] for call in calls}
    assert sum(call["attempts"] for call in calls) == sandbox.stats()["requests"]
