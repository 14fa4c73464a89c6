"""Profiles: what replies and failures look like with each provider."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.sandbox import Fault, Sandbox
from tests.deployments.profiles.asking import JSON_OBJECT, JSON_SCHEMA, Send, dig, events, user


def test_reasoning_takes_the_replys_tokens(sandbox: Sandbox, send: Send) -> None:
    """Thinking is counted, and a small budget is spent on it alone."""
    sandbox.control(profile="openai-reasoning")
    adapted = {"max_tokens": None, "temperature": None}
    roomy = send("openai-reasoning", "gpt-5", **adapted, max_completion_tokens=2048).json()
    thought = roomy["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert 0 < thought < roomy["usage"]["completion_tokens"]
    assert "reasoning_content" not in roomy["choices"][0]["message"]
    tight = send("openai-reasoning", "gpt-5", **adapted, max_completion_tokens=thought).json()
    choice = tight["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")
    assert tight["usage"]["completion_tokens"] == thought
    quick = send("openai-reasoning", "gpt-5", **adapted, reasoning_effort="minimal").json()
    assert "completion_tokens_details" not in quick["usage"]


def test_azure_filter(sandbox: Sandbox, send: Send) -> None:
    """The filter's verdict is inside; a stream opens with a chunk that has no choices."""
    sandbox.control(profile="azure")
    error = send("azure", "gpt-4.1", text="[[sandbox:content_policy]]").json()["error"]
    assert (error["code"], error["param"], error["type"]) == ("content_filter", "prompt", None)
    verdict = error["innererror"]["content_filter_result"]["violence"]
    assert verdict == {"filtered": True, "severity": "medium"}
    first = events(send("azure", "gpt-4.1", stream=True))[0]
    assert first["choices"] == []
    assert first["prompt_filter_results"][0]["prompt_index"] == 0


# profile, model, fault, status, where, what is there
FAULTS = [
    ("anthropic", "claude-sonnet-4-5", Fault.STATUS_529, 529, "error.type", "overloaded_error"),
    ("anthropic", "claude-sonnet-4-5", Fault.STATUS_529, 529, "type", "error"),
    (
        "anthropic",
        "claude-sonnet-4-5",
        Fault.STATUS_402,
        400,
        "error.message",
        "Your credit balance is too low to access the API.",
    ),
    (
        "gemini",
        "gemini-2.5-flash",
        Fault.STATUS_401,
        400,
        "0.error.details.0.reason",
        "API_KEY_INVALID",
    ),
    ("gemini", "gemini-2.5-flash", Fault.STATUS_503, 503, "0.error.status", "UNAVAILABLE"),
    ("deepseek", "deepseek-chat", Fault.STATUS_402, 402, "error.message", "Insufficient Balance"),
    ("qwen", "qwen-plus", Fault.STATUS_402, 400, "error.code", "Arrearage"),
    ("qwen", "qwen-plus", Fault.CONTENT_POLICY, 400, "error.code", "data_inspection_failed"),
    ("openrouter", "openai/gpt-4.1", Fault.CONTENT_POLICY, 403, "error.metadata.reasons.0", "violence"),
    (
        "openrouter",
        "openai/gpt-4.1",
        Fault.BUDGET_HOLD,
        402,
        "error.metadata.limit_source",
        "openrouter_in_flight_budget",
    ),
    ("openrouter", "openai/gpt-4.1", Fault.ERROR_BODY, 200, "error.code", 502),
    ("vllm", "meta-llama/Llama-3.1-8B-Instruct", Fault.CONTEXT_LENGTH, 400, "object", "error"),
    ("ollama", "llama3.1:8b", Fault.STATUS_500, 500, "error", "llama runner process has terminated"),
    ("groq", "openai/gpt-oss-20b", Fault.CAPACITY, 498, "error.code", "capacity_exceeded"),
    ("groq", "openai/gpt-oss-20b", Fault.JSON_VALIDATE, 400, "error.code", "json_validate_failed"),
    ("mistral", "mistral-small-latest", Fault.STATUS_401, 401, "detail", "Unauthorized"),
    ("together", "deepseek-ai/DeepSeek-V3.1", Fault.STATUS_402, 402, "error.type", "credit_limit"),
    ("plain", "m", Fault.MODEL_DENIED, 403, "error.code", "model_not_found"),
]  # fmt: skip


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: f"{case[0]}-{case[2]}")
def test_faults_in_each_providers_words(sandbox: Sandbox, send: Send, case: Any) -> None:
    """The same fault has another status, shape and code with each provider."""
    profile, model, fault, status, place, said = case
    sandbox.control(profile=profile, faults={fault: 1})
    format_ = JSON_OBJECT if profile == "deepseek" else JSON_SCHEMA
    response = send(profile, model, response_format=format_)
    assert (response.status_code, dig(response.json(), place)) == (status, said)


def test_groq_hands_out_what_failed(sandbox: Sandbox, send: Send) -> None:
    """json_validate_failed has the text that was no JSON."""
    sandbox.control(profile="groq", faults={"json_validate": 1})
    error = send("groq", "openai/gpt-oss-20b").json()["error"]
    with pytest.raises(json.JSONDecodeError):
        json.loads(error["failed_generation"])


def test_deepseek_keeps_the_connection_alive(sandbox: Sandbox, send: Send) -> None:
    """Blank lines before a body, comments before a stream, the thoughts beside the content."""
    sandbox.control(profile="deepseek")
    body = {"response_format": JSON_OBJECT}
    plain = send("deepseek", "deepseek-reasoner", **body)
    assert plain.text.startswith("\n\n{")
    message = plain.json()["choices"][0]["message"]
    assert message["reasoning_content"]
    assert json.loads(message["content"])
    stream = send("deepseek", "deepseek-reasoner", stream=True, **body)
    assert stream.text.startswith(": keep-alive\n\n")
    deltas = [chunk["choices"][0]["delta"] for chunk in events(stream)]
    assert deltas[1]["reasoning_content"] == message["reasoning_content"]


def test_replies_that_break_off(sandbox: Sandbox, send: Send) -> None:
    """DeepSeek names its end, OpenRouter has an error beside it; half of the content came."""
    sandbox.control(profile="deepseek", faults={"broken_off": 1})
    choice = send("deepseek", "deepseek-chat", response_format=JSON_OBJECT).json()["choices"][0]
    assert choice["finish_reason"] == "insufficient_system_resource"
    assert choice["message"]["content"]
    sandbox.control(profile="openrouter")
    choice = send("openrouter", "openai/gpt-4.1").json()["choices"][0]
    assert (choice["finish_reason"], choice["error"]["code"]) == ("error", 502)
    last = events(send("openrouter", "openai/gpt-4.1", stream=True))[-2]
    assert (last["choices"][0]["finish_reason"], last["error"]["code"]) == ("error", 502)


def test_errors_in_the_middle_of_a_stream(sandbox: Sandbox, send: Send) -> None:
    """OpenRouter's chunk has an error and a choice; vLLM's is a bare error, and [DONE] follows."""
    sandbox.control(profile="openrouter", faults={"error_body": 1})
    response = send("openrouter", "openai/gpt-4.1", stream=True)
    assert response.text.startswith(": OPENROUTER PROCESSING\n\n")
    last = events(response)[-1]
    assert (last["error"]["code"], last["choices"][0]["finish_reason"]) == (502, "error")
    sandbox.control(profile="vllm")
    response = send("vllm", "meta-llama/Llama-3.1-8B-Instruct", stream=True)
    assert events(response)[-1]["object"] == "error"
    assert response.text.endswith("data: [DONE]\n\n")


def test_ollama_cuts_the_prompt_silently(sandbox: Sandbox, send: Send) -> None:
    """A prompt of 10,000 tokens is answered as if it had 4,096, or what the table says."""
    sandbox.control(profile="ollama", models={"small": {"context_tokens": 256}})
    long = {"text": "x" * 40_000, "headers": {}}
    assert send("ollama", "llama3.1:8b", **long).json()["usage"]["prompt_tokens"] == 4096
    assert send("ollama", "small", **long).json()["usage"]["prompt_tokens"] == 256


def test_magistral_answers_in_parts(sandbox: Sandbox, send: Send) -> None:
    """Content is a list of a thinking and a text part, in a stream as well."""
    sandbox.control(profile="mistral")
    content = send("mistral", "magistral-medium-latest").json()["choices"][0]["message"]["content"]
    assert [part["type"] for part in content] == ["thinking", "text"]
    assert "comments" in json.loads(content[1]["text"])
    chunks = events(send("mistral", "magistral-medium-latest", stream=True))
    parts = [chunk["choices"][0]["delta"].get("content") for chunk in chunks]
    assert parts[1][0]["type"] == "thinking"
    assert "".join(part for part in parts[2:] if part) == content[1]["text"]
    assert chunks[-1]["usage"]["completion_tokens"] > 0


def test_together_names_a_good_end_eos(sandbox: Sandbox, send: Send) -> None:
    """finish_reason is eos where others say stop."""
    sandbox.control(profile="together")
    reply = send("together", "deepseek-ai/DeepSeek-V3.1").json()
    assert reply["choices"][0]["finish_reason"] == "eos"


def test_spent_on_thinking(sandbox: Sandbox, send: Send) -> None:
    """The fault gives an empty reply that is billed whole, with any profile."""
    sandbox.control(faults={"reasoning_spent": 1})
    reply = send("plain", "m", max_tokens=300).json()
    choice = reply["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")
    assert reply["usage"]["completion_tokens_details"] == {"reasoning_tokens": 300}
    assert sandbox.log()[0]["completion_tokens"] == 300


def test_prompt_cache(sandbox: Sandbox, send: Send) -> None:
    """Equal beginnings count from 1,024 tokens on, in steps of 128, by key and model."""

    def cached(tokens: int, tail: str, **changes: Any) -> int:
        text = "y" * (tokens * 4) + tail
        reply = send("plain", "m", messages=[user(text)], response_format=None, **changes)
        return int(reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"])

    assert "prompt_tokens_details" not in send("plain", "m").json()["usage"]
    sandbox.control(prompt_cache=True)
    assert cached(1300, "first" * 200) == 0
    assert cached(1300, "other" * 200) == 1280
    assert cached(1100, "third" * 200) == 1024
    assert cached(1000, "short") == 0
    assert cached(1300, "other" * 200, headers={"Authorization": "Bearer sk-b"}) == 0
