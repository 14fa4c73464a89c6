"""Answers in the journal belong to the provider that gave them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.calls import Reply, Request, Usage
from tasks.core.quotas import AppId
from tasks.upstream.journal import Answers, Journal, open_journal

SANDBOX = "http://127.0.0.1:8080/v1"
REAL = "https://models.example/v1"
QUESTION = Request("m", ({"role": "user", "content": "?"},))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(tmp_path / "journal.sqlite") as opened:
        yield opened


def reply(app_id: str, endpoint: str) -> Reply:
    """A reply that an app_id paid for at an endpoint."""
    return Reply("yes", "m", "stop", Usage(1, 1), None, 1.0, app_id, "t", endpoint, 0.1, 0.0)


def answers(journal: Journal, base_url: str, provider: str = "") -> Answers:
    return Answers(journal, [AppId("a", base_url, provider=provider)])


def test_a_rehearsal_does_not_answer_the_real_run(journal: Journal) -> None:
    """What the sandbox said is no answer of another endpoint, and the other way round."""
    answers(journal, SANDBOX).put(QUESTION, reply("a", SANDBOX))
    assert answers(journal, REAL).get(QUESTION) is None
    assert answers(journal, SANDBOX).get(QUESTION) is not None


def test_a_label_is_shared(journal: Journal) -> None:
    """Two endpoints that are one provider's answer for each other; another label does not."""
    answers(journal, REAL, "models").put(QUESTION, reply("a", REAL))
    assert answers(journal, "https://eu.models.example/v1", "models").get(QUESTION) is not None
    assert answers(journal, REAL, "other").get(QUESTION) is None


def test_login_query_and_slash_are_not_the_place(journal: Journal) -> None:
    """An endpoint stays the same when only they differ."""
    answers(journal, REAL).put(QUESTION, reply("a", REAL))
    same = "https://user:word@Models.example/v1/?api-version=2"
    assert answers(journal, same).get(QUESTION) is not None


def test_any_provider_that_serves_the_model_answers(journal: Journal) -> None:
    """With two providers of one model the answer of either counts; of a model it does not serve, none."""
    answers(journal, SANDBOX).put(QUESTION, reply("a", SANDBOX))
    both = [AppId("a", REAL), AppId("b", SANDBOX)]
    assert Answers(journal, both).get(QUESTION) is not None
    other = replace(both[1], models=frozenset({"n"}))
    assert Answers(journal, [both[0], other]).get(QUESTION) is None


def test_answers_from_before_keys_had_a_provider(journal: Journal) -> None:
    """They count when their endpoint is one of today's, so nothing paid for is lost."""
    journal.put(QUESTION.key, reply("old", REAL))
    assert answers(journal, SANDBOX).get(QUESTION) is None
    found = answers(journal, REAL)
    assert found.get(QUESTION) is not None
    found.forget(QUESTION)
    assert found.get(QUESTION) is None


@pytest.mark.parametrize("sent", [{"response_format": {"type": "json_object"}}, {}])
def test_an_answer_in_a_simpler_format_counts(journal: Journal, sent: dict[str, object]) -> None:
    """It was stored under what the endpoint took; forgotten, it is gone in that form as well."""
    found = answers(journal, REAL)
    asked = replace(QUESTION, params={"response_format": {"type": "json_schema"}})
    found.put(replace(QUESTION, params=sent), reply("a", REAL))
    assert found.get(asked) is not None
    found.forget(asked)
    assert found.get(asked) is None


def test_an_answer_in_a_stricter_format_is_another(journal: Journal) -> None:
    """Who asks for text alone does not get what was asked for as JSON."""
    found = answers(journal, REAL)
    found.put(replace(QUESTION, params={"response_format": {"type": "x"}}), reply("a", REAL))
    assert found.get(QUESTION) is None
