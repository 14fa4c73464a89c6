"""
What each refusal of a provider costs a run of 300 questions: never more than five requests per key.

The bodies are those of tests/data/refusals.jsonl, by the name of who says them. Here is each row of
the study of endpoints that wasted requests, in its order; what is not here:

| behaviour | test |
|---|---|
| model names alone: gpt-5, o-series, Qwen, DeepSeek, Gemma, Magistral, Ollama | infer/test_providers |
| reasoning that took all tokens: paid once | test_call_faults, `Fault.REASONING_SPENT` |
| a reply broken off by the provider, json_validate_failed | test_call_faults, test_refused_calls |
| an answer in parts, or only in the reasoning | calls/test_completion |
| a prompt that the server cuts | infer/test_failed_steps |
| silence before a stream's first event | calls/test_transport |
| Together's limit per second, waits of each form | quota/test_quota, test_waits |
| TLS, DNS, proxies | test_company_endpoints |
| one question refused by all keys, one hiccup, a wait with 402 | test_refused_calls |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from deployments.sandbox import Sandbox
from tasks.core.calls import Request
from tasks.core.quotas import AppId, Window
from tasks.upstream.calls.caller import Caller
from tests.upstream.provider import Answer, Provider, outcomes

Ask = Callable[..., Request]
OpenCaller = Callable[..., Caller]
THREADS = 16
SYSTEM = {"role": "system", "content": "You review."}
Rule = Callable[[str, dict[str, Any]], Answer]
MOST = 5
"""Requests per key that may be wasted."""
QUESTIONS = 300
_LINES = (Path(__file__).parents[1] / "data/refusals.jsonl").read_text().splitlines()
BODIES: Mapping[tuple[str, str], Answer] = {
    (row["about"], row["provider"]): (row["status"], row["body"], row["headers"])
    for row in map(orjson.loads, _LINES)
}
LASTING = [pair for pair in BODIES if pair[0] not in {"wait", "try_again"}]
"""What stays as it is however long one waits."""
ALWAYS = [
    ("money", "LiteLLM, budget"),
    ("model", "LiteLLM, key may not"),
    ("parameter", "OpenAI, max_tokens"),
    ("parameter", "OpenAI, temperature"),
    ("parameter", "OpenAI, role system"),
    ("key", "OpenAI"),
    ("money", "OpenAI, quota spent"),
    ("model", "OpenAI, project without access"),
    ("model", "OpenAI, unknown"),
    ("money", "Anthropic"),
    ("format", "Gemini, protobuf"),
    ("key", "Gemini, wrong key with a 400"),
    ("key", "Gemini, denied"),
    ("parameter", "DashScope"),
    ("money", "DashScope, arrears"),
    ("money", "OpenRouter, no credits"),
    ("input", "OpenRouter, moderation"),
    ("model", "Ollama"),
    ("length", "TGI"),
    ("length", "Groq, more than a minute's tokens"),
    ("parameter", "OpenAI-like, unrecognized"),
    ("money", "Fireworks, suspended with a 412"),
    ("money", "Moonshot, suspended with a 429"),
    ("endpoint", "portal, login page with a 200"),
    ("endpoint", "nginx, wrong path"),
    ("endpoint", "redirect"),
    ("input", "WAF in JSON"),
    ("key", "nothing but a 401"),
    ("input", "unknown words with a 400"),
]
NO_COMPLETIONS: Mapping[str, Answer] = {
    "another API's reply": (200, {"message": {"role": "assistant", "content": "{}"}}, {}),
    "nothing": (200, "", {}),
    "an empty content": (200, {"choices": [{"index": 0, "message": {"content": ""}}]}, {}),
}
ENDED = {"refused_by_endpoint", "no_keys_left"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
DEFAULTS = {"temperature": 0.0, "max_tokens": 4096, "response_format": SCHEMA}


def questions(ask: Ask, **more: Any) -> list[Request]:
    """300 questions with the defaults of review.toml."""
    return [ask(f"q{number}", **DEFAULTS, **more) for number in range(QUESTIONS)]


def costs_a_handful(
    provider: Provider, open_call: OpenCaller, ask: Ask, body: Answer, aliases: int
) -> None:
    """The body, to all questions on so many keys."""
    provider.rule = lambda _key, _body: body
    found = outcomes(open_call(aliases, base_url=provider.url, longest_wait=1.0), questions(ask))
    assert len(provider.sent) <= MOST * aliases
    ended = sum(count for code, count in found.items() if code in {*ENDED, "quota_held"})
    assert ended >= QUESTIONS - MOST * aliases
    assert "HTTP " in found.said[-1], "the provider's sentence, or that there is none"


@pytest.mark.parametrize("pair", ALWAYS, ids=": ".join)
def test_what_is_always_refused_costs_a_handful(
    provider: Provider, open_call: OpenCaller, ask: Ask, pair: tuple[str, str]
) -> None:
    """One key, and none of its requests can succeed: five are sent."""
    costs_a_handful(provider, open_call, ask, BODIES[pair], 1)


@pytest.mark.parametrize("name", NO_COMPLETIONS)
def test_a_200_without_an_answer_costs_a_handful(
    provider: Provider, open_call: OpenCaller, ask: Ask, name: str
) -> None:
    """Each alone is an accident; from the first request on, it is the endpoint."""
    costs_a_handful(provider, open_call, ask, NO_COMPLETIONS[name], 1)


@pytest.mark.chaos
@pytest.mark.parametrize("aliases", [1, 5])
@pytest.mark.parametrize("pair", LASTING, ids=": ".join)
def test_every_known_refusal_costs_a_handful(
    provider: Provider, open_call: OpenCaller, ask: Ask, pair: tuple[str, str], aliases: int
) -> None:
    """As above for every body that is known, on several keys."""
    costs_a_handful(provider, open_call, ask, BODIES[pair], aliases)


# -- what goes on after a few requests ----------------------------------------------------------------


def _o1_mini(_key: str, body: dict[str, Any]) -> Answer:
    refused = {"max_tokens": "OpenAI, max_tokens", "temperature": "OpenAI, temperature"}
    for name, provider in refused.items():
        if name in body:
            return BODIES["parameter", provider]
    if any(message["role"] in {"system", "developer"} for message in body["messages"]):
        return BODIES["parameter", "OpenAI, role system"]
    return BODIES["format", "DeepSeek"] if "response_format" in body else None


def _gemini(_key: str, body: dict[str, Any]) -> Answer:
    schema = body.get("response_format", {}).get("type") == "json_schema"
    return BODIES["format", "Gemini, protobuf"] if schema else None


def _qwen(_key: str, body: dict[str, Any]) -> Answer:
    thinks = body.get("enable_thinking") is not False
    return BODIES["parameter", "DashScope"] if thinks and not body.get("stream") else None


def _mistral(_key: str, body: dict[str, Any]) -> Answer:
    return BODIES["parameter", "Mistral, FastAPI's list"] if "stream_options" in body else None


@pytest.mark.parametrize(
    ("rule", "stream"),
    [(_o1_mini, False), (_gemini, False), (_qwen, False), (_mistral, True)],
)
def test_what_can_be_adapted_is_answered(
    provider: Provider, open_call: OpenCaller, ask: Ask, rule: Rule, *, stream: bool
) -> None:
    """All 300 questions, and at most five requests before that.

    The stream comes without a content type, as some gateways send it.
    """
    provider.rule = rule
    asks = [replace(one, messages=(SYSTEM, *one.messages)) for one in questions(ask, stream=stream)]
    assert outcomes(open_call(1, base_url=provider.url), asks) == {"ok": QUESTIONS}
    assert len(provider.sent) <= QUESTIONS + MOST


def _free_day() -> Answer:
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{time.time() + 9e3:.0f}000"}
    return 429, {"error": {"message": "free-models-per-day", "code": 429}}, reset


@pytest.mark.parametrize(
    "limited",
    [
        BODIES["wait", "OpenAI, words"],
        BODIES["wait", "Gemini, per day, with the minute's wait"],
        BODIES["wait", "GitHub Models"],
        _free_day(),
    ],
    ids=["Groq, tokens of a day", "Gemini, a day's", "GitHub Models", "OpenRouter, free models"],
)
def test_a_limit_of_hours_ends_the_run(
    provider: Provider, open_call: OpenCaller, ask: Ask, limited: Answer
) -> None:
    """Three answers a key, and then nothing for hours: the rest is left for then."""
    provider.rule = lambda _key, _body: None if len(provider.sent) <= 6 else limited
    found = outcomes(open_call(2, base_url=provider.url, longest_wait=1.0), questions(ask))
    assert found == {"ok": 6, "quota_held": QUESTIONS - 6}
    assert len(provider.sent) <= 6 + 2 * THREADS, "those in flight, on each key"
    assert "can go on at 20" in found.said[-1]


@pytest.mark.parametrize(
    "pair",
    [
        ("model", "Groq, decommissioned"),
        ("money", "LiteLLM, budget"),
        ("key", "OpenAI, deactivated"),
        ("endpoint", "portal, login page with a 200"),
    ],
    ids=": ".join,
)
def test_what_ends_in_mid_run_costs_what_is_in_flight(
    provider: Provider, open_call: OpenCaller, ask: Ask, pair: tuple[str, str]
) -> None:
    """Forty answers, then none: what is in flight is refused, and once more on the other key."""
    provider.rule = lambda _key, _body: None if len(provider.sent) <= 40 else BODIES[pair]
    found = outcomes(open_call(2, base_url=provider.url), questions(ask), THREADS)
    assert found.pop("ok") == 40
    most = 2 * THREADS + 2 * MOST
    assert len(provider.sent) <= 40 + most
    assert sum(found.get(code, 0) for code in ENDED) >= QUESTIONS - 40 - most


@pytest.mark.parametrize("windows", [(), (Window(120, 1.0),)], ids=["none", "twice as much"])
def test_a_quota_that_is_said_too_high_loses_nothing(
    sandbox: Sandbox, open_call: OpenCaller, ask: Ask, windows: tuple[Window, ...]
) -> None:
    """Mistral's 429, which says no wait, where a key may do sixty a second: all is answered.

    What is in flight when a window is full is refused: fewer than what is answered.
    """
    sandbox.control(quota=["60/1s"], retry_after="none")
    app_ids = [AppId(alias, sandbox.base_url, windows) for alias in ("a0", "a1")]
    found = outcomes(open_call(2, app_ids=app_ids), questions(ask), THREADS)
    assert found == {"ok": QUESTIONS}
    assert sandbox.stats()["statuses"]["429"] < QUESTIONS
