"""What a refusal is about: the bodies of many providers as data, and any bytes at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.upstream.calls.refusal_rules import RULES, About
from tasks.upstream.calls.refusals import Refusal, classify

ABOUTS = get_args(About)
NOW = 1795600000.0  # 2026-11-25 09:46:40 UTC
DATA = Path(__file__).parents[2] / "data" / "refusals.jsonl"
ROWS: list[dict[str, Any]] = [orjson.loads(line) for line in DATA.read_bytes().splitlines()]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.text() | st.sampled_from(["error", "code", "message", "param", "loc", "retryDelay"]),
            inner,
        )
    ),
    max_leaves=12,
)
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "retry-after-ms", "RateLimit", "x-ratelimit-reset"])
    | st.text(max_size=20),
    st.text(max_size=60),
)


def of(status: int, body: Any, headers: dict[str, str] | None = None) -> Refusal:
    """The refusal of the model m1, now."""
    return classify(status, headers or {}, body, model="m1", now=NOW)


def unwrapped(body: Any) -> Any:
    """The body as the openai client hands it on: what stands under `error`."""
    return body["error"] if isinstance(body, dict) and [*body] == ["error"] else body


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['about']}: {row['provider']}")
@pytest.mark.parametrize("shape", ["bytes", "parsed", "unwrapped"])
def test_provider_says(row: dict[str, Any], shape: str) -> None:
    """Every known body is read as what it is about, with its wait, parameter and certainty."""
    body = row["body"]
    raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
    given_body = {"bytes": raw, "parsed": body, "unwrapped": unwrapped(body)}[shape]
    refusal = of(row["status"], given_body, row["headers"])
    assert refusal.about == row["about"]
    if row["about"] != "wait":  # for a 429 the status is enough
        assert refusal.certain == row.get("certain", True)
    assert refusal.wait == pytest.approx(row.get("wait"))
    if row["about"] in {"parameter", "format"}:
        assert refusal.parameter == row["parameter"]


def test_every_kind_is_covered() -> None:
    """The data holds rows of every kind, so that no row of the table is untested by kind."""
    assert {row["about"] for row in ROWS} == set(ABOUTS) == {rule.about for rule in RULES}


@pytest.mark.parametrize("status", range(400, 600))
def test_unknown_words_take_no_key_out(status: int) -> None:
    """Words that nobody knows never say for certain that a key, an account or a model is out."""
    refusal = of(status, {"error": {"message": "Der Mond steht falsch."}})
    assert not refusal.certain
    assert refusal.about not in {"key", "money", "model"} or status in {401, 402}


def test_echo_of_the_request_is_not_read() -> None:
    """Code under review that a server echoes cannot speak for the server."""
    detail = [{"loc": ["body", "messages", 0], "msg": "no", "input": "invalid_api_key billing"}]
    assert of(422, {"detail": detail}).about == "input"


def test_sentence_is_the_providers() -> None:
    """The sentence joins what the gateway and the server behind it say; without words, the code."""
    body = {
        "error": {"message": "Provider returned error", "metadata": {"raw": "It\nis\x1b[1m out"}}
    }
    assert of(502, body).sentence == "Provider returned error: It is [1m out"
    assert of(429, {"error": {"message": "", "code": "RateLimitReached"}}).sentence == (
        "RateLimitReached"
    )
    assert of(404, "<html><head><title>404 Not Found</title></head></html>").sentence == (
        "404 Not Found"
    )


def test_status_inside_a_200_counts() -> None:
    """An error object inside a 200 is judged by the status that it names."""
    assert of(200, {"error": {"code": 429, "message": "slow"}}).about == "wait"
    assert of(200, {"error": {"code": 429, "message": "slow"}}).status == 429
    assert of(200, {"error": {"message": "hm"}}).about == "try_again"


@given(
    st.integers(-1, 1000) | st.sampled_from([200, 400, 401, 403, 404, 422, 429, 500]),
    HEADERS,
    st.binary(max_size=300) | st.text(max_size=300) | JSON | JSON.map(repr),
    st.text(max_size=20),
)
def test_never_raises(status: int, headers: dict[str, str], body: Any, model: str) -> None:
    """Any status, headers and body give a refusal with one bounded line and a sane wait."""
    refusal = classify(status, headers, body, model=model, now=NOW)
    assert refusal.about in ABOUTS
    assert len(refusal.sentence) <= 500
    assert len(refusal.sentence.splitlines()) <= 1
    assert refusal.wait is None or 0 <= refusal.wait <= 32 * 86400


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"error":' * 50_000, b"<html" + b"<" * 200_000, "try again in " * 9_000],
)
def test_hostile_bodies_are_read_at_once(body: bytes | str) -> None:
    """Deep nesting and repeated starts are bounded, so that a body cannot hold a thread."""
    assert of(400, body).about in ABOUTS
