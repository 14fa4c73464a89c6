"""What providers say of a batch, in every spelling that was seen."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.core.calls import Usage
from tasks.core.errors import ConfigError, ReplyError
from tasks.upstream.batches.dialect import DIALECTS, dialect_of
from tasks.upstream.batches.records import BatchCounts, BatchStatus
from tasks.upstream.batches.status import read_page, read_status


def read(name: str = "openai", **fields: Any) -> BatchStatus:
    """A batch with these fields."""
    return read_status({"id": "b", **fields}, DIALECTS[name])


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("validating", "running"),
        ("in_progress", "running"),
        ("finalizing", "running"),
        ("cancelling", "running"),
        ("completed", "completed"),
        ("failed", "failed"),
        ("expired", "expired"),
        ("cancelled", "cancelled"),
        ("canceled", "cancelled"),
        ("Completed", "completed"),
        ("COMPLETED", "completed"),
        ("InProgress", "running"),
        ("PROGRESS", "running"),
        ("warming_up", "running"),
        ("", "running"),
        (None, "running"),
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_states(dialect: str, said: str | None, state: str) -> None:
    """Without case and punctuation; a word that nobody knows is a batch that runs."""
    found = read(dialect, status=said)
    assert (found.state, found.is_over) == (state, state != "running")


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        (1_714_508_499, 1_714_508_499.0),
        (1_714_508_499_000, 1_714_508_499.0),
        ("2024-04-30T20:21:39Z", 1_714_508_499.0),
        ("2024-04-30T20:21:39", 1_714_508_499.0),
        ("yesterday", None),
        (None, None),
        (0, None),
    ],
)
def test_instants(value: Any, instant: float | None) -> None:
    """Seconds, milliseconds, ISO 8601 with and without a zone, and nonsense."""
    assert read(created_at=value).created == instant


def test_counts_and_files_that_are_null_or_blank() -> None:
    """Null counts are 0, and neither null nor "" is a file."""
    counts = {"total": None, "completed": 3, "failed": None}
    found = read(status="completed", request_counts=counts, output_file_id=None, error_file_id="")
    assert (found.counts, found.counts.done) == (BatchCounts(0, 3, 0), 3)
    assert found.file_ids == ()
    assert read(output_file_id="o", error_file_id="e").file_ids == ("o", "e")


@pytest.mark.parametrize(
    "errors",
    [
        {
            "object": "list",
            "data": [{"code": "token_limit_exceeded", "message": "m", "line": None}],
        },
        [{"code": "token_limit_exceeded", "message": "m"}],
        [{"code": None, "message": "Enqueued token limit reached for m in organization o."}],
    ],
)
def test_the_token_limit(errors: Any) -> None:
    """A batch that failed for the enqueued tokens is told from one whose file is wrong."""
    assert read(status="failed", errors=errors).token_limited
    assert not read(status="in_progress", errors=errors).token_limited
    wrong = {"data": [{"code": "invalid_json_line", "message": "m", "line": 3}]}
    found = read(status="failed", errors=wrong)
    assert not found.token_limited
    assert (found.problems[0].code, found.problems[0].line) == ("invalid_json_line", 3)


def test_together_speaks_of_jobs() -> None:
    """The creation wraps the job; its error is a text; its deadline is the batch's."""
    job = {"id": "b", "status": "FAILED", "error": "bad file", "model_id": "m"}
    job |= {"job_deadline": "2024-04-30T20:21:39Z", "created_at": "2024-04-30T20:21:38Z"}
    found = read_status({"job": job, "warning": "w"}, DIALECTS["together"])
    assert (found.state, found.model, found.expires) == ("failed", "m", 1_714_508_499.0)
    assert [problem.message for problem in found.problems] == ["bad file"]
    assert read_page([job], DIALECTS["together"])[1] is False


def test_usage_of_the_batch() -> None:
    """Tokens of all rows, cached and thought ones among them."""
    usage = {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}
    usage |= {"input_tokens_details": {"cached_tokens": 5}}  # type: ignore[dict-item]
    assert read(usage=usage).usage == Usage(10, 4, 14, 5, None)
    assert read().usage is None


@pytest.mark.parametrize("body", [None, [], "ok", {}, {"id": ""}, {"job": {}}])
def test_what_is_no_batch(body: Any) -> None:
    """An answer without an id is refused, whatever it is."""
    with pytest.raises(ReplyError, match="no batch"):
        read_status(body, DIALECTS["openai"])


def test_pages() -> None:
    """Pages of OpenAI and arrays; anything else is no list."""
    body = {"object": "list", "data": [{"id": "a"}, {"id": "b"}], "has_more": True}
    found, more = read_page(body, DIALECTS["openai"])
    assert ([status.id for status in found], more) == (["a", "b"], True)
    assert read_page({"data": None}, DIALECTS["openai"]) == ([], False)
    with pytest.raises(ReplyError, match="no list"):
        read_page({"id": "a"}, DIALECTS["openai"])


def test_other_dialects_are_refused_with_a_sentence() -> None:
    """Providers of another shape cannot be configured by accident."""
    assert dialect_of("azure").expires is False
    with pytest.raises(ConfigError, match=r"openai, azure, together.*leave batch out"):
        dialect_of("anthropic")
