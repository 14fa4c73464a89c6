"""A call of an input that fails: what is asked again, who answers instead, what is a failed cell."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox import Sandbox
from tasks.core.locations import ledger_location
from tasks.upstream.quota.key_status import read_quota_status
from tests.infer.area import ADDS, APP_ID, ASSIGNS, BOTH, CHECK, CODE, ROW, SCRIPTED

Reviewer = Callable[..., list[dict[str, Any]]]


def test_a_failed_review_keeps_the_comments(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """Without a verdict nothing is lost: the comment stays, marked, and the input is partial."""
    sandbox.control(
        models=SCRIPTED,
        answers=[{"model": "c1", "comments": [ADDS]}],
        script=[{"fault": "content_filter", "model": "r1"}],
    )
    (review,) = review_rows([ROW], BOTH)
    (comment,) = review["comments"]
    assert comment["outcome"] == "unverified"
    assert comment["verdict"]["status"] == "call_failed"
    assert (review["coverage"], review["coverage_reason"]) == ("partial", "review: content_filter")


def test_a_refused_format_is_remembered(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """An endpoint without json_schema is asked in the next simpler form, and only once found out."""
    sandbox.control(models={"c1": {"response_format": "none", "skill": "silent"}})
    rows = [{"input_id": f"r{n}", "content": f"x = {n}\n"} for n in range(4)]
    reviews = review_rows(rows, CHECK, threads=1)
    assert [review["coverage"] for review in reviews] == ["complete"] * 4
    assert sandbox.stats()["statuses"] == {"400": 2, "200": 4}


def test_prose_is_asked_once_more(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """A reply in prose is asked again with the reason; the second reply counts."""
    sandbox.control(script=[{"fault": "prose", "times": 1}])
    (review,) = review_rows([ROW], CHECK)
    (call,) = review["calls"]
    assert (call["status"], call["parse_mode"], call["attempts"]) == ("ok", "reasked", 2)


def test_prose_twice_is_a_failed_cell(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """Prose again is a failed cell with the start of the text, never an empty review."""
    sandbox.control(faults={"prose": 1.0})
    (review,) = review_rows([ROW], CHECK)
    (call,) = review["calls"]
    assert (call["status"], call["parse_mode"]) == ("failed", "failed")
    assert 0 < len(call["raw_snippet"]) <= 400
    assert (review["coverage"], review["coverage_reason"]) == ("failed", call["reason"])


def test_a_truncated_reply_is_named(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """A reply cut by its length is never a complete review."""
    sandbox.control(
        models=SCRIPTED, answers=[{"comments": [ADDS, ASSIGNS]}], faults={"length": 1.0}
    )
    (review,) = review_rows([ROW], CHECK)
    assert review["coverage"] in {"partial", "failed"}
    assert "truncated" in review["coverage_reason"]


def test_a_prompt_that_the_server_cut_is_named(
    sandbox: Sandbox, review_rows: Reviewer, caplog: pytest.LogCaptureFixture
) -> None:
    """Ollama reads 256 tokens and says nothing: row and log do, and the next run asks again."""
    sandbox.control(profile="ollama", models={"c1": {"skill": "silent", "context_tokens": 256}})
    rows = [ROW | {"input_id": name, "content": f"{CODE}{name} = 1\n"} for name in "ab"]
    with caplog.at_level(logging.WARNING, logger="test"):
        reviews = review_rows(rows, CHECK)
    calls = [call for review in reviews for call in review["calls"]]
    assert [(call["status"], call["reason"]) for call in calls] == [("ok", "prompt_cut")] * 2
    assert {review["coverage"] for review in reviews} == {"partial"}
    assert "raise its context length" in reviews[0]["coverage_reason"]
    (line,) = (line for line in caplog.messages if "num_ctx" in line)
    assert "c1 at" in line
    assert "read 256 of about" in line

    sandbox.control(models={"c1": {"skill": "silent", "context_tokens": 100_000}})
    again = review_rows(rows, CHECK)
    assert {review["coverage"] for review in again} == {"complete"}


def test_the_next_model_answers_for_one_that_is_closed(
    sandbox: Sandbox, review_rows: Reviewer
) -> None:
    """A model that is gone costs a few requests; the fallback answers all, and its rows say so."""
    sandbox.control(
        strict_models=True, models={"c2": {"skill": "scripted"}}, answers=[{"comments": [ADDS]}]
    )
    rows = [ROW | {"input_id": f"r{n}", "content": f"{CODE}a = {n}\n"} for n in range(20)]
    reviews = review_rows(rows, CHECK + 'fallback = ["gone-too", "c2"]\n')

    assert {review["coverage"] for review in reviews} == {"complete"}
    calls = [call for review in reviews for call in review["calls"]]
    assert {(call["model"], call["name"], call["status"]) for call in calls} == {
        ("c2", "one", "ok")
    }
    assert all(review["comments"] for review in reviews)
    wasted = [row for row in sandbox.log() if row["status"] != 200]
    assert len(wasted) <= 10


def test_the_next_model_answers_for_one_that_is_out_of_quota(
    sandbox: Sandbox, review_rows: Reviewer
) -> None:
    """A key that is held past longest_wait is waited for by nobody: the fallback's key answers all."""
    sandbox.control(
        keys={"a": {"key": "key-a"}, "b": {"key": "key-b"}},
        models={"c1": {"skill": "silent"}, "c2": {"skill": "scripted"}},
        answers=[{"comments": [ADDS]}],
        script=[{"fault": "status_429", "key": "a"}],
        fault_wait=7200,
    )
    rows = [ROW | {"input_id": f"r{n}", "content": f"{CODE}a = {n}\n"} for n in range(20)]
    other = APP_ID.format("b", sandbox.base_url) + 'models = ["c2"]\n'
    reviews = review_rows(rows, CHECK + 'fallback = ["c2"]\n' + other)

    assert {review["coverage"] for review in reviews} == {"complete"}
    calls = [call for review in reviews for call in review["calls"]]
    assert {(call["model"], call["app_id"], call["name"], call["status"]) for call in calls} == {
        ("c2", "b", "one", "ok")
    }
    assert sandbox.stats()["statuses"]["200"] == 20
    assert sandbox.stats()["statuses"]["429"] <= 4, "the threads' own"


def test_the_fallback_may_be_on_the_key_whose_model_is_used_up(
    sandbox: Sandbox, review_rows: Reviewer
) -> None:
    """Groq's limits are those of a model: the next one answers on the same key."""
    url = f"{sandbox.root}/openai/v1"
    sandbox.control(
        profile="groq",
        models={"c1": {"skill": "silent"}, "c2": {"skill": "silent"}},
        script=[{"fault": "status_429", "model": "c1"}],
        fault_wait=7200,
    )
    rows = [{"input_id": f"r{n}", "content": f"x = {n}\n"} for n in range(20)]
    reviews = review_rows(rows, CHECK + 'fallback = ["c2"]\n', url=url)

    calls = [call for review in reviews for call in review["calls"]]
    assert {(call["model"], call["status"]) for call in calls} == {("c2", "ok")}
    assert sandbox.stats()["statuses"]["429"] <= 4


def test_one_flagged_input_of_forty_fails_alone(
    sandbox: Sandbox, review_rows: Reviewer, tmp_path: Path
) -> None:
    """OpenRouter's 403 for one input, five keys: 39 are complete, and no key is out."""
    sandbox.control(
        profile="openrouter",
        models={"c1": {"skill": "silent"}},
        script=[{"fault": "content_policy", "match": "x = 17"}],
    )
    url = f"{sandbox.root}/api/v1"
    rows = [{"input_id": f"r{n:02}", "content": f"x = {n}\n"} for n in range(40)]
    config = CHECK + "".join(APP_ID.format(alias, url) for alias in "bcde")
    reviews = review_rows(rows, config, run_id="tonight", url=url)

    assert Counter(review["coverage"] for review in reviews) == {"complete": 39, "failed": 1}
    (call,) = reviews[17]["calls"]
    assert (call["input_id"], call["reason"]) == ("r17", "content_filter")
    assert sandbox.stats()["statuses"] == {"200": 39, "403": 1}
    status = read_quota_status(ledger_location(str(tmp_path / "state")), "tonight")
    assert [(key.alias, key.reason, key.held_until) for key in status.keys] == [
        (alias, None, 0.0) for alias in "abcde"
    ]


def test_a_failure_of_the_question_has_no_fallback(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """What another question would not meet is told as it is."""
    sandbox.control(models={"c1": {"skill": "silent"}}, faults={"content_filter": 1.0})
    (review,) = review_rows([ROW], CHECK + 'fallback = ["c2"]\n')
    (call,) = review["calls"]
    assert (call["model"], call["reason"]) == ("c1", "content_filter")


def test_what_failed_on_the_way_is_gone_through_again(
    sandbox: Sandbox, review_rows: Reviewer
) -> None:
    """A call that spent its three attempts on a bad hour gets another pass; the others are not asked again."""
    sandbox.control(
        models={"c1": {"skill": "silent"}},
        script=[{"fault": "status_500", "match": "x = 2", "times": 4}],
    )
    rows = [{"input_id": f"r{n}", "content": f"x = {n}\n"} for n in range(4)]
    reviews = review_rows(rows, CHECK)
    assert [review["coverage"] for review in reviews] == ["complete"] * 4
    assert sandbox.stats()["statuses"] == {"500": 4, "200": 4}


def test_an_unreadable_reply_is_not_an_answer_for_the_next_night(
    sandbox: Sandbox, review_rows: Reviewer
) -> None:
    """Prose that failed a cell is forgotten, so that a rerun asks again and may succeed."""
    sandbox.control(script=[{"fault": "prose", "times": 4}])  # two passes of two calls
    (first,) = review_rows([ROW], CHECK)
    (second,) = review_rows([ROW], CHECK)
    assert (first["coverage"], second["coverage"]) == ("failed", "complete")
    (third,) = review_rows([ROW], CHECK)
    assert third["calls"][0]["journaled"]


def test_a_cut_reply_is_asked_again_with_more_tokens(
    sandbox: Sandbox, review_rows: Reviewer
) -> None:
    """The journal serves it for the same max_tokens, with the remedy; a raised one asks anew."""
    sandbox.control(
        models=SCRIPTED, answers=[{"comments": [ADDS, ASSIGNS]}], faults={"length": 1.0}
    )
    review_rows([ROW], CHECK)
    sandbox.control(faults={})
    (same,) = review_rows([ROW], CHECK)
    assert same["calls"][0]["journaled"]
    assert "truncated (raise max_tokens)" in same["coverage_reason"]
    (raised,) = review_rows([ROW], CHECK + "max_tokens = 9000\n")
    assert (raised["coverage"], raised["calls"][0]["journaled"]) == ("complete", False)
