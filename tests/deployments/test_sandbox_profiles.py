"""Profiles: what a naive client is told by each provider, and that an adapted one is served."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import openai
import pytest

from deployments.sandbox import Fault, Sandbox, start_sandbox
from deployments.sandbox.profiles import PROFILES
from tasks.core.errors import ConfigError

SCHEMA = {"name": "review_comments", "strict": True, "schema": {"type": "object"}}
JSON_SCHEMA = {"type": "json_schema", "json_schema": SCHEMA}
JSON_OBJECT = {"type": "json_object"}
CODE = "File: src/app.py\n    10 | def total(rows):\n    11 |     return sum(rows) / len(rows)\n"
NAIVE = {"temperature": 0.0, "max_tokens": 2048, "response_format": JSON_SCHEMA}
Send = Callable[..., httpx.Response]


@pytest.fixture
def send(sandbox: Sandbox) -> Send:
    """Ask a profile as a naive client does: `send("groq", "a-model", key=..., **body)`."""

    def ask(profile: str, model: str, **changes: Any) -> httpx.Response:
        path = changes.pop("path", PROFILES[profile].routes[-1].path)
        headers = changes.pop("headers", {"Authorization": "Bearer sk-default"})
        text = changes.pop("text", CODE)
        messages = [{"role": "system", "content": "Answer in JSON."}, user(text)]
        body = {"model": model, "messages": messages, **NAIVE, **changes}
        body = {name: value for name, value in body.items() if value is not None}
        return httpx.post(sandbox.root + path, json=body, headers=headers, timeout=10)

    return ask


def user(text: str) -> dict[str, str]:
    """A user message."""
    return {"role": "user", "content": text}


def dig(value: Any, path: str) -> Any:
    """A member by its path: "error.code", "0.error.status"."""
    for name in path.split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


# profile, model, what is sent, status, where in the body, what is there
REFUSED = [
    ("openai-reasoning", "gpt-5", {}, 400, "error.param", "max_tokens"),
    ("openai-reasoning", "gpt-5", {"max_tokens": None}, 400, "error.code", "unsupported_value"),
    (
        "openai-reasoning",
        "o3-mini",
        {"max_tokens": None, "temperature": 1},
        400,
        "error.code",
        "unsupported_parameter",
    ),
    (
        "openai-reasoning",
        "o1-mini",
        {"max_tokens": None, "temperature": None, "response_format": None},
        400,
        "error.param",
        "messages[0].role",
    ),
    ("openai-reasoning", "gpt-5", {"top_k": 3}, 400, "error.code", "unknown_parameter"),
    ("openai-reasoning", "no-such", {}, 404, "error.code", "model_not_found"),
    ("azure", "gpt-5", {}, 400, "error.code", "unsupported_parameter"),
    ("azure", "no-such", {}, 404, "error.code", "DeploymentNotFound"),
    ("anthropic", "claude-opus-4-8", {}, 400, "error.type", "invalid_request_error"),
    ("anthropic", "claude-sonnet-4-5", {"n": 2}, 400, "error.code", "invalid_request_error"),
    ("anthropic", "no-such", {}, 404, "error.type", "not_found_error"),
    ("gemini", "gemini-2.5-flash", {"store": True}, 400, "0.error.status", "INVALID_ARGUMENT"),
    ("gemini", "no-such", {}, 404, "0.error.status", "NOT_FOUND"),
    (
        "deepseek",
        "deepseek-chat",
        {},
        400,
        "error.message",
        "This response_format type is unavailable now",
    ),
    ("deepseek", "no-such", {}, 400, "error.message", "Model Not Exist"),
    ("qwen", "qwen3-32b", {}, 400, "error.code", "invalid_parameter_error"),
    ("qwen", "no-such", {}, 404, "error.code", "model_not_found"),
    ("openrouter", "no-such", {}, 400, "error.code", 400),
    ("vllm", "google/gemma-3-4b-it", {}, 400, "message", "System role not supported"),
    ("vllm", "no-such", {}, 404, "type", "NotFoundError"),
    ("ollama", "no-such", {}, 404, "error.type", "api_error"),
    ("groq", "llama-3.1-8b-instant", {}, 400, "error.param", "response_format"),
    ("groq", "openai/gpt-oss-20b", {"n": 2}, 400, "error.type", "invalid_request_error"),
    ("groq", "no-such", {}, 404, "error.code", "model_not_found"),
    (
        "mistral",
        "mistral-small-latest",
        {"stream": True, "stream_options": {"include_usage": True}},
        422,
        "detail.0.loc.1",
        "stream_options",
    ),
    (
        "mistral",
        "mistral-small-latest",
        {"max_completion_tokens": 9},
        422,
        "detail.0.type",
        "extra_forbidden",
    ),
    ("mistral", "no-such", {}, 400, "code", "1500"),
    ("together", "no-such", {}, 404, "error.code", "model_not_found"),
    ("github-models", "openai/gpt-5", {}, 400, "error.code", "unsupported_parameter"),
    ("github-models", "no-such", {}, 400, "error.code", "unknown_model"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]}-{case[1]}")
def test_naive_requests_are_refused(sandbox: Sandbox, send: Send, case: Any) -> None:
    """Each provider refuses its parameters and unknown models with its own status and shape."""
    profile, model, sent, status, place, said = case
    sandbox.control(profile=profile)
    response = send(profile, model, **sent)
    assert (response.status_code, dig(response.json(), place)) == (status, said)
    assert sandbox.log()[0]["completion_tokens"] == 0


GPT_5 = {"max_completion_tokens": 2048}
PLAIN = {"max_tokens": 2048, "temperature": 0.0, "response_format": JSON_SCHEMA}
OBJECT = {"max_tokens": 2048, "response_format": JSON_OBJECT}
ADAPTED = [
    ("openai-reasoning", "gpt-5", {**GPT_5, "temperature": 1.0, "response_format": JSON_SCHEMA}),
    ("openai-reasoning", "o3-mini", GPT_5),
    ("openai-reasoning", "gpt-4.1", PLAIN),
    ("azure", "gpt-4.1", PLAIN),
    ("anthropic", "claude-sonnet-4-5", PLAIN),
    ("anthropic", "claude-opus-4-8", {"max_tokens": 2048}),
    ("gemini", "gemini-2.5-flash", PLAIN),
    ("deepseek", "deepseek-chat", OBJECT),
    ("deepseek", "deepseek-reasoner", OBJECT),
    ("qwen", "qwen3-32b", {**PLAIN, "extra_body": {"enable_thinking": False}}),
    ("qwen", "qwen-plus", PLAIN),
    ("openrouter", "openai/gpt-4.1", PLAIN),
    ("vllm", "meta-llama/Llama-3.1-8B-Instruct", PLAIN),
    ("ollama", "llama3.1:8b", PLAIN),
    ("groq", "openai/gpt-oss-20b", PLAIN),
    ("groq", "llama-3.1-8b-instant", OBJECT),
    ("mistral", "mistral-small-latest", PLAIN),
    ("together", "deepseek-ai/DeepSeek-V3.1", PLAIN),
    ("github-models", "openai/gpt-4.1", PLAIN),
]


@pytest.mark.parametrize(("profile", "model", "options"), ADAPTED)
def test_adapted_requests_are_served(
    sandbox: Sandbox, profile: str, model: str, options: dict[str, Any]
) -> None:
    """OpenAI's own client reads the answer of each profile, plain and as a stream."""
    sandbox.control(profile=profile)
    base_url = sandbox.root + PROFILES[profile].base
    messages: Any = [user(f'Answer in JSON as "comments".\n{CODE}')]
    with openai.OpenAI(base_url=base_url, api_key="sk-default", max_retries=0) as client:
        plain = client.chat.completions.create(model=model, messages=messages, **options)
        stream = client.chat.completions.create(
            model=model, messages=messages, stream=True, **options
        )
        text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    content = plain.choices[0].message.content
    assert content == text
    fenced = content is not None and content.startswith("```json\n")
    assert fenced is (profile == "anthropic" and "response_format" in options)
    assert "comments" in json.loads((content or "").strip("`").removeprefix("json"))
    assert plain.usage is not None
    assert plain.usage.completion_tokens == sandbox.log()[0]["completion_tokens"]


def test_every_profile_has_both_kinds_of_test() -> None:
    """A profile that is added without a refusal and an adapted request is noticed here."""
    names = set(PROFILES) - {"plain"}
    assert {case[0] for case in REFUSED} == {case[0] for case in ADAPTED} == names


def test_models_are_listed(sandbox: Sandbox) -> None:
    """GET models has the profile's names and those of the table, which are served too."""
    sandbox.control(profile="groq", models={"mine": {}})
    cards = httpx.get(f"{sandbox.root}/openai/v1/models").json()["data"]
    assert {card["id"] for card in cards} == {"mine", *PROFILES["groq"].models}
    assert httpx.get(f"{sandbox.root}/v1/models").status_code == 404


def test_a_wrong_path_is_refused_in_the_profiles_shape(sandbox: Sandbox, send: Send) -> None:
    """A base_url without what the provider has in it is a 404, JSON or not."""
    sandbox.control(profile="vllm")
    assert send("vllm", "m", path="/chat/completions").json() == {"detail": "Not Found"}
    sandbox.control(profile="ollama")
    response = send("ollama", "m", path="/chat/completions")
    assert response.text == "404 page not found"
    assert response.headers["content-type"].startswith("text/plain")


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


def test_azure_classic_wants_its_header_and_version(sandbox: Sandbox, send: Send) -> None:
    """The deployment is in the path, the key in api-key, and the version in the query."""
    sandbox.control(profile="azure", keys={"one": {"key": "sk-one"}}, strict_keys=True)
    path = "/openai/deployments/gpt-4.1/chat/completions"
    good = {"path": f"{path}?api-version=2024-10-21", "headers": {"api-key": "sk-one"}}
    assert send("azure", "ignored", **good).json()["model"] == "gpt-4.1"
    bearer = {**good, "headers": {"Authorization": "Bearer sk-one"}}
    assert send("azure", "ignored", **bearer).json()["error"]["code"] == "401"
    assert send("azure", "x", **{**good, "path": path}).json()["error"]["code"] == "404"
    other = {**good, "path": f"{path.replace('gpt-4.1', 'mine')}?api-version=2024-10-21"}
    assert send("azure", "gpt-4.1", **other).json()["error"]["code"] == "DeploymentNotFound"
    wrong = {**good, "headers": {"api-key": "sk-two"}}
    assert send("azure", "x", **wrong).json()["error"]["code"] == "401"


def test_azure_keys_share_one_quota(sandbox: Sandbox, send: Send) -> None:
    """What one key has used the other has not; the wait comes in seconds and milliseconds."""
    sandbox.control(profile="azure", quota="1/100s")
    assert send("azure", "gpt-4.1", headers={"api-key": "sk-one"}).status_code == 200
    refused = send("azure", "gpt-4.1", headers={"api-key": "sk-two"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "429")
    assert 99 <= int(refused.headers["retry-after"]) <= 100
    assert 99_000 < int(refused.headers["retry-after-ms"]) <= 100_000
    sandbox.control(shared_quota=False)
    assert send("azure", "gpt-4.1", headers={"api-key": "sk-three"}).status_code == 200


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


def events(response: httpx.Response) -> list[Any]:
    """The JSON of a stream's events."""
    lines = response.text.splitlines()
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(text) for text in data if text != "[DONE]"]


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


def limited(sandbox: Sandbox, send: Send, profile: str, model: str, quota: str) -> httpx.Response:
    """The first refusal by a quota."""
    sandbox.control(profile=profile, quota=quota)
    body = {"response_format": None}
    assert send(profile, model, **body).status_code == 200
    refused = send(profile, model, **body)
    assert refused.status_code == 429
    return refused


def test_gemini_says_the_wait_in_the_body_alone(sandbox: Sandbox, send: Send) -> None:
    """RetryInfo and the message have it, no header has; the quota is named by its period."""
    refused = limited(sandbox, send, "gemini", "gemini-2.5-flash", "1/100s")
    (body,) = refused.json()
    quota, retry = body["error"]["details"]
    assert body["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert 99 < float(retry["retryDelay"].removesuffix("s")) <= 100
    assert "PerMinute" in quota["violations"][0]["quotaId"]
    assert not [name for name in refused.headers if "retry" in name or "ratelimit" in name]
    refused = limited(sandbox, send, "gemini", "gemini-2.5-pro", "2/1d")
    assert "PerDay" in refused.text


def test_anthropic_headers(sandbox: Sandbox, send: Send) -> None:
    """Its own names, and the reset as an instant."""
    headers = limited(sandbox, send, "anthropic", "claude-haiku-4-5", "1/100s").headers
    assert headers["anthropic-ratelimit-requests-limit"] == "1"
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    reset = datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"])
    assert 98 <= (reset - datetime.now(UTC)).total_seconds() <= 101
    assert 99 <= int(headers["retry-after"]) <= 100


def test_openrouter_resets_in_milliseconds(sandbox: Sandbox, send: Send) -> None:
    """X-RateLimit-Reset is an epoch in milliseconds, in the headers and in the metadata."""
    refused = limited(sandbox, send, "openrouter", "openai/gpt-4.1", "1/100s")
    reset = refused.headers["x-ratelimit-reset"]
    assert 98_000 < int(reset) - time.time() * 1000 <= 100_001
    assert dig(refused.json(), "error.metadata.headers.X-RateLimit-Reset") == reset


def test_groq_waits_in_minutes_and_seconds(sandbox: Sandbox, send: Send) -> None:
    """Requests are those of the day, the reset in Go's notation, Retry-After in seconds."""
    sandbox.control(profile="groq", quota=["1/432s", "9/1d"])
    body = {"response_format": None}
    first = send("groq", "llama-3.1-8b-instant", **body)
    assert first.headers["x-ratelimit-limit-requests"] == "9"
    refused = send("groq", "llama-3.1-8b-instant", **body)
    assert "Please try again in 7m1" in refused.json()["error"]["message"]
    assert 430 <= int(refused.headers["retry-after"]) <= 432


def test_together_counts_per_second(sandbox: Sandbox, send: Send) -> None:
    """600 a minute are a limit of 10, and no Retry-After is sent."""
    sandbox.control(profile="together", quota="600/60s")
    model = "deepseek-ai/DeepSeek-V3.1"
    assert send("together", model).headers["x-ratelimit-limit"] == "10"
    refused = limited(sandbox, send, "together", model, "2/60s")
    assert "retry-after" not in refused.headers
    assert refused.json()["error"]["type"] == "credit_limit", "that of unpaid accounts"


def test_github_models_has_a_small_day(sandbox: Sandbox, send: Send) -> None:
    """Without a quota of its own a key has the free tier; the day's wait is in hours."""
    sandbox.control(profile="github-models")
    codes = [send("github-models", "openai/gpt-4.1").status_code for _ in range(11)]
    assert codes == [200] * 10 + [429]
    refused = limited(sandbox, send, "github-models", "openai/gpt-4.1", "11/1d")
    assert refused.headers["x-ratelimit-type"] == "UserByModelByDay"
    assert int(refused.headers["retry-after"]) > 80_000
    assert refused.json()["error"]["code"] == "RateLimitReached"


def test_mistral_says_no_wait(sandbox: Sandbox, send: Send) -> None:
    """A 429 without any header, in its own shape."""
    refused = limited(sandbox, send, "mistral", "mistral-small-latest", "1/100s")
    assert (refused.json()["object"], refused.json()["code"]) == ("error", "1300")
    assert "retry-after" not in refused.headers


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


def test_vllm_wants_no_key_and_says_how_long(sandbox: Sandbox, send: Send) -> None:
    """It serves without a key, names the context length, and can answer in the thoughts alone."""
    sandbox.control(profile="vllm")
    model = "meta-llama/Llama-3.1-8B-Instruct"
    assert send("vllm", model, headers={}).status_code == 200
    refused = send("vllm", model, text="x" * 40_000).json()
    assert "maximum context length is 8192 tokens" in refused["message"]
    assert refused["type"] == "BadRequestError"
    message = send("vllm", "Qwen/Qwen3-8B").json()["choices"][0]["message"]
    assert message["content"] is None
    assert "comments" in json.loads(message["reasoning_content"])


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


def test_started_with_a_profile() -> None:
    """Its base_url is where a client of that provider asks; an unknown name is explained."""
    with start_sandbox(profile="qwen") as sandbox:
        assert sandbox.base_url == f"{sandbox.root}/compatible-mode/v1"
        assert sandbox.control()["profile"] == "qwen"
        with pytest.raises(ConfigError, match="openrouter"):
            sandbox.control(profile="nobody")
