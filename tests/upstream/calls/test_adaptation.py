"""How requests are sent after a refusal named something in them: tables of bodies and changes."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.upstream.calls.adaptation import Adaptation, adapt, read_adaptation
from tasks.upstream.calls.refusals import classify

SCHEMA = {"type": "json_schema", "json_schema": {"name": "check", "schema": {}}}
SYSTEM = {"role": "system", "content": "You review."}
USER = {"role": "user", "content": "def f(): ..."}
BODY: dict[str, Any] = {
    "model": "m1",
    "messages": [SYSTEM, USER],
    "temperature": 0.0,
    "max_tokens": 9000,
    "response_format": SCHEMA,
    "stream": True,
    "stream_options": {"include_usage": True},
}


def learnt(
    message: str, sent: dict[str, Any] = BODY, known: Adaptation | None = None, **error: Any
) -> Adaptation | None:
    """What one 400 with that message teaches."""
    refusal = classify(400, {}, {"error": {"message": message, **error}}, model="m1", now=0.0)
    return adapt(sent, refusal, known)


@pytest.mark.parametrize(
    ("message", "changed", "sentence"),
    [
        (
            "Unsupported value: 'temperature' does not support 0.0 here.",
            {"temperature": None},
            "temperature left out: the endpoint refuses it",
        ),
        (
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'.",
            {"max_tokens": None, "max_completion_tokens": 9000},
            "max_tokens sent as max_completion_tokens: the endpoint refuses it",
        ),
        (
            "max_tokens is too large: 9000. At most 4096 completion tokens.",
            {"max_tokens": 4096},
            "max_tokens set to 4096: the endpoint refuses it",
        ),
        (
            "Invalid max_tokens value, the range is [1, 8,192]",
            {"max_tokens": 8192},
            "max_tokens set to 8192: the endpoint refuses it",
        ),
        (
            "Unrecognized request argument supplied: stream_options",
            {"stream_options": None},
            "stream_options left out: the endpoint refuses it",
        ),
        (
            "'stream' is not supported",
            {"stream": None, "stream_options": None},
            "stream left out, stream_options left out: the endpoint refuses them",
        ),
        (
            "System role not supported",
            {"messages": [{"role": "user", "content": "You review.\n\ndef f(): ..."}]},
            "the system prompt sent in the first user message: the endpoint refuses it",
        ),
        (
            "The system role is not supported, use 'developer'",
            {"messages": [{**SYSTEM, "role": "developer"}, USER]},
            "the system prompt sent in the role developer: the endpoint refuses it",
        ),
        (
            "This response_format is not there yet",
            {"response_format": {"type": "json_object"}},
            "response_format lowered to json_object: the endpoint refuses it",
        ),
        (
            "The stars are not right",
            {"response_format": {"type": "json_object"}},
            "response_format lowered to json_object: the endpoint refuses it",
        ),
        (
            "parameter.enable_thinking must be set to false without a stream",
            {"enable_thinking": False},
            "enable_thinking set to false: the endpoint refuses it",
        ),
    ],
)
def test_one_refusal_one_change(message: str, changed: dict[str, Any], sentence: str) -> None:
    """A refusal changes what it names and nothing else, and the change is told."""
    adaptation = learnt(message)
    assert adaptation is not None
    expected = {name: value for name, value in {**BODY, **changed}.items() if value is not None}
    assert adaptation.apply(BODY) == expected
    assert adaptation.describe() == sentence


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported parameter: 'top_k'",  # not sent
        "Invalid API key given",
        "context length exceeded",
        "Your prompt was flagged",
    ],
)
def test_nothing_to_adapt(message: str) -> None:
    """A refusal of something that was not sent, or about something else, changes nothing."""
    assert learnt(message) is None


def test_unknown_words_without_a_format_change_nothing() -> None:
    """Without a response_format there is nothing left to try for unknown words."""
    plain = {name: value for name, value in BODY.items() if name != "response_format"}
    assert learnt("The stars are not right", plain) is None


def endpoint(body: dict[str, Any]) -> str | None:
    """What a strict reasoning endpoint says to a body, the first thing that it dislikes."""
    rules = [
        ("max_tokens" in body, "Unsupported parameter: 'max_tokens'"),
        ("temperature" in body, "Unsupported parameter: 'temperature'"),
        ("stream_options" in body, "stream_options: Extra inputs are not permitted"),
        (body["messages"][0]["role"] == "system", "System role not supported"),
        ("response_format" in body, "This response_format is unavailable"),
    ]
    return next((words for refused, words in rules if refused), None)


def test_strict_endpoint_is_met_in_six_calls() -> None:
    """Changes add up: each refused call teaches one, until the endpoint takes the request."""
    known, calls = Adaptation(), 0
    while words := endpoint(known.apply(BODY)):
        learned = learnt(words, known.apply(BODY), known)
        assert learned is not None
        assert learned != known
        known, calls = learned, calls + 1
    assert calls == 6  # one for each thing, two for the levels of response_format
    assert known.apply(BODY) == {
        "model": "m1",
        "messages": [{"role": "user", "content": "You review.\n\ndef f(): ..."}],
        "max_completion_tokens": 9000,
        "stream": True,
    }


def test_a_refused_new_name_is_left_out() -> None:
    """An endpoint that refuses both names of the limit gets neither."""
    first = learnt("Unsupported parameter: 'max_tokens'")
    assert first is not None
    second = learnt("Unsupported parameter: 'max_completion_tokens'", first.apply(BODY), first)
    assert second is not None
    assert not {"max_tokens", "max_completion_tokens"} & set(second.apply(BODY))


def test_the_new_name_may_be_the_old_one() -> None:
    """A user's max_completion_tokens is sent as max_tokens where only that is known."""
    sent = {"model": "m1", "messages": [USER], "max_completion_tokens": 50}
    adaptation = learnt('Unknown name "max_completion_tokens": Cannot find field.', sent)
    assert adaptation is not None
    assert adaptation.apply(sent)["max_tokens"] == 50


def test_lower_limits_of_our_own_stay() -> None:
    """A limit learnt from one large request does not raise a smaller one."""
    adaptation = Adaptation(values={"max_tokens": 4096})
    assert adaptation.apply({**BODY, "max_tokens": 100})["max_tokens"] == 100


def test_system_prompt_as_parts_is_folded_too() -> None:
    """Content as a list of parts keeps its parts behind the system prompt."""
    part = {"type": "text", "text": "code"}
    body = {**BODY, "messages": [SYSTEM, {"role": "user", "content": [part]}]}
    (message,) = Adaptation(role="user").apply(body)["messages"]
    assert message["content"] == [{"type": "text", "text": "You review."}, part]


def test_body_is_left_as_it_was() -> None:
    """Applying changes no message or parameter of the request itself."""
    before = orjson.dumps(BODY)
    Adaptation(frozenset({"temperature"}), role="user", reply_format="text").apply(BODY)
    assert orjson.dumps(BODY) == before


ADAPTATIONS = st.builds(
    Adaptation,
    omit=st.frozensets(st.sampled_from(["temperature", "stream_options", "seed"])),
    rename=st.sampled_from([{}, {"max_tokens": "max_completion_tokens"}]),
    values=st.dictionaries(
        st.sampled_from(["max_tokens", "enable_thinking"]), st.booleans() | st.integers(256, 9000)
    ),
    role=st.sampled_from(["system", "developer", "user"]),
    reply_format=st.sampled_from(["json_schema", "json_object", "text"]),
)


@given(ADAPTATIONS, ADAPTATIONS)
def test_records_come_back_and_add_up(one: Adaptation, other: Adaptation) -> None:
    """A record read back is the same adaptation; merging is idempotent and loses no omission."""
    assert read_adaptation(orjson.loads(orjson.dumps(one.record()))) == one
    both = one.merge(other)
    assert both.merge(other) == both
    assert both.omit == one.omit | other.omit
    assert bool(one) == bool(one.describe())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["omit", "rename", "values", "role", "reply_format"]), inner
            )
        ),
        max_leaves=8,
    )
)
def test_any_stored_record_is_read(record: Any) -> None:
    """A damaged record never raises, and never drops the model or the messages."""
    sent = read_adaptation(record).apply(BODY)
    assert {"model", "messages"} <= set(sent)
    assert re.fullmatch(r"[^\n]*", read_adaptation(record).describe())
