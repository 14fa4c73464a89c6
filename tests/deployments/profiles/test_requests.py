"""Profiles: what a naive client is told by each provider, and that an adapted one is served."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from deployments.sandbox import Sandbox, start_sandbox
from deployments.sandbox.profiles import PROFILES
from tasks.core.errors import ConfigError
from tests.deployments.profiles.asking import CODE, JSON_OBJECT, JSON_SCHEMA, Send, dig, user

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


def test_started_with_a_profile() -> None:
    """Its base_url is where a client of that provider asks; an unknown name is explained."""
    with start_sandbox(profile="qwen") as sandbox:
        assert sandbox.base_url == f"{sandbox.root}/compatible-mode/v1"
        assert sandbox.control()["profile"] == "qwen"
        with pytest.raises(ConfigError, match="openrouter"):
            sandbox.control(profile="nobody")
