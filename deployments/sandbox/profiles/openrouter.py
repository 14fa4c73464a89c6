"""OpenRouter."""

from __future__ import annotations

import math
import time
from typing import Any

from deployments.sandbox.profiles.record import ChatRoute, Profile, Traits, by_about
from deployments.sandbox.wire import SandboxRefusal, Style

__all__ = ["OPENROUTER"]

_METADATA = "metadata"


def _error(refusal: SandboxRefusal) -> Any:
    """The status once more as `code`, and `metadata`; no type, no param."""
    error: dict[str, Any] = {"message": refusal.message, "code": refusal.code or refusal.status}
    more = dict(refusal.more)
    if refusal.about == "wait":
        # github.com/comet-ml/opik/pull/2323: reset in epoch milliseconds
        more = {_METADATA: {"headers": _limited(refusal), "provider_name": None}}
    return {"error": error | more, "user_id": "user_sandbox"}


def _limited(refusal: SandboxRefusal) -> dict[str, str]:
    if refusal.about != "wait":
        return {}
    reset = math.ceil((time.time() + (refusal.wait or 0)) * 1000)
    return {
        "X-RateLimit-Limit": str(refusal.facts["limit"]),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(reset),
    }


def _chunk(error: Any) -> Any:
    # https://openrouter.ai/docs/api/reference/errors-and-debugging, mid-stream errors
    return {
        "id": "gen-sandbox",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": "sandbox",
        "provider": "Sandbox",
        "error": error["error"],
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
    }


_PROVIDER = {"provider_name": "Sandbox", "raw": "upstream connect error"}

# https://openrouter.ai/docs/api/reference/errors-and-debugging and /limits
OPENROUTER = Profile(
    name="openrouter",
    base="/api/v1",
    routes=(ChatRoute("/api/v1/chat/completions"),),
    models={
        "openai/gpt-4.1": Traits(context_tokens=1_000_000),
        "deepseek/deepseek-r1": Traits(context_tokens=128_000, reasons=True),
        "meta-llama/llama-3.3-70b-instruct:free": Traits(context_tokens=65_536),
    },
    refusals=by_about(
        key_missing=SandboxRefusal(401, 401, "No auth credentials found"),
        key=SandboxRefusal(401, 401, "User not found."),
        forbidden=SandboxRefusal(403, 403, "Key is not allowed to do this."),
        unpaid=SandboxRefusal(402, 402, "Insufficient credits. Add more credits and retry."),
        exhausted=SandboxRefusal(402, 402, "Insufficient credits. Add more credits and retry."),
        budget_hold=SandboxRefusal(
            402,
            402,
            "In-flight requests would exceed the remaining credits. Retry when they have ended.",
            more={_METADATA: {"limit_source": "openrouter_in_flight_budget"}},
        ),
        # github.com/maxnowack/anthropic-proxy/issues/4
        model=SandboxRefusal(400, 400, "{model} is not a valid model ID"),
        model_denied=SandboxRefusal(404, 404, "No allowed providers are available for {model}."),
        wait=SandboxRefusal(
            429, 429, "Rate limit exceeded: {limit} {unit} per {seconds:g} seconds."
        ),
        filter=SandboxRefusal(
            403,
            403,
            'This model requires moderation. Your input was flagged for "violence".',
            more={
                _METADATA: {
                    "reasons": ["violence"],
                    "flagged_input": "...",
                    "provider_name": "Sandbox",
                    "model_slug": "sandbox",
                }
            },
        ),
        length=SandboxRefusal(
            400,
            400,
            "This endpoint's maximum context length is {context} tokens. "
            "However, you requested about {tokens} tokens.",
        ),
        status_502=SandboxRefusal(502, 502, "Provider returned error", more={_METADATA: _PROVIDER}),
        status_503=SandboxRefusal(503, 503, "No allowed providers are available."),
        error_body=SandboxRefusal(200, 502, "Provider returned error", more={_METADATA: _PROVIDER}),
    ),
    shape=_error,
    refusal_headers=_limited,
    error_chunk=_chunk,
    choice_errors=True,
    style=Style(
        reasoning_field="reasoning",
        body={"provider": "Sandbox"},
        choice={"native_finish_reason": None},
        usage="last",
        comment=b": OPENROUTER PROCESSING\n\n",
    ),
    shows_cache=True,
)
