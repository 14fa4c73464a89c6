"""Profiles: how each provider says that a quota is used up, and when to come back."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import httpx

from deployments.sandbox import Sandbox
from tests.deployments.profiles.asking import Send, dig


def test_azure_keys_share_one_quota(sandbox: Sandbox, send: Send) -> None:
    """What one key has used the other has not; the wait comes in seconds and milliseconds."""
    sandbox.control(profile="azure", quota="1/100s")
    assert send("azure", "gpt-4.1", headers={"api-key": "sk-one"}).status_code == 200
    refused = send("azure", "gpt-4.1", headers={"api-key": "sk-two"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "429")
    assert 90 <= int(refused.headers["retry-after"]) <= 100
    assert 99_000 < int(refused.headers["retry-after-ms"]) <= 100_000
    sandbox.control(shared_quota=False)
    assert send("azure", "gpt-4.1", headers={"api-key": "sk-three"}).status_code == 200


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
    assert 90 < float(retry["retryDelay"].removesuffix("s")) <= 100
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
    assert 90 <= int(headers["retry-after"]) <= 100


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
