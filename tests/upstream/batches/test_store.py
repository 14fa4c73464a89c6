"""Intents as files and databases keep them: claims, the order of states, what a crash leaves."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.calls import Refused
from tasks.core.errors import StateError
from tasks.upstream.batches.intents import Intent
from tasks.upstream.batches.store import BatchStore, open_batches

INTENT = Intent(
    id="i1",
    run_id="run-1",
    app_id="a",
    provider="http://x.test/v1",
    endpoint="http://x.test/v1",
    model="m",
    sha256="ab" * 32,
    requests=2,
    prompt_tokens=700,
    created=1_700_000_000.0,
)


def key(name: str) -> str:
    """A question's key."""
    return hashlib.sha256(name.encode()).hexdigest()


QUESTIONS = {key("one"): "run-1 c1", key("two"): "run-1 c2"}


@pytest.fixture(params=["file", "database"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where batches may be: each test runs on both."""
    if request.param == "database":
        return str(request.getfixturevalue("database"))
    return tmp_path / "state" / "batches.sqlite"


@pytest.fixture
def store(place: Path | str) -> Iterator[BatchStore]:
    """An empty store."""
    with open_batches(place) as opened:
        yield opened


def test_what_was_planned_survives_and_holds_its_questions(
    place: Path | str, store: BatchStore
) -> None:
    """Another process sees it, and cannot plan a batch with one of its questions."""
    assert store.plan(INTENT, QUESTIONS) == set()
    with open_batches(place) as other:
        assert other.open() == [INTENT]
        assert other.questions(INTENT) == QUESTIONS
        rival = replace(INTENT, id="i2", run_id="run-2")
        assert other.plan(rival, {key("two"): "", key("three"): ""}) == {key("two")}
        assert other.holders([key("one"), key("three")]) == {key("one"): "i1"}
        assert other.open() == [INTENT]
        assert other.enqueued("a", "m") == 700
        assert other.enqueued("a", "n") == 0
    assert store.plan(INTENT, QUESTIONS) == set()  # repeated after a lost connection


def test_each_step_is_durable_and_only_forward(place: Path | str, store: BatchStore) -> None:
    """The way of a batch; a step back, or one that another process has made, is refused."""
    store.plan(INTENT, QUESTIONS)
    uploaded = store.move(INTENT, "uploaded", file_id="f-1")
    working = store.move(uploaded, "working", batch_id="b-1")
    with pytest.raises(StateError, match="moved by another process"):
        store.move(uploaded, "abandoned")
    with pytest.raises(StateError, match="cannot become"):
        store.move(working, "closed")
    working = store.note(working, done=1, said="in_progress")
    ended = store.move(working, "ended", output_file_id="f-2")
    assert store.enqueued("a", "m") == 0
    assert store.questions(ended) == QUESTIONS
    read = store.move(ended, "read", answered=2)
    assert store.questions(read) == {}
    assert store.holders(list(QUESTIONS)) == {}
    with open_batches(place) as other:
        found = other.get("b-1")
        assert found == read
        assert (found.state, found.file_id, found.done, found.left) == ("read", "f-1", 1, 0)
        other.move(found, "closed")
        assert other.open() == []


def test_refusals_belong_to_their_run(store: BatchStore) -> None:
    """A question that was refused in one run is asked again by the next."""
    said = Refused("bad_request", "HTTP 400: no", "a", "http://x.test/v1", "b-1")
    store.refuse("run-1", {key("one"): said})
    store.refuse("run-1", {key("one"): said})
    assert store.refusals("run-1") == {key("one"): said}
    assert store.refusals("run-2") == {}


def test_what_is_older_than_the_providers_files_is_forgotten(store: BatchStore) -> None:
    """Also a batch that nobody has read: its questions are free again."""
    store.plan(INTENT, QUESTIONS)
    young = replace(INTENT, id="i2", created=time.time() - 86_400)
    store.plan(young, {key("three"): ""})
    store.prune()
    assert [one.id for one in store.all()] == ["i2"]
    assert store.holders([*QUESTIONS, key("three")]) == {key("three"): "i2"}
