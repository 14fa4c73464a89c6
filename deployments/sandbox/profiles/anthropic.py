"""Anthropic's OpenAI-compatible endpoint."""

from __future__ import annotations

from typing import Any

from deployments.sandbox.limits import anthropic_limits
from deployments.sandbox.profiles.record import ChatRoute, Profile, RefusalRule, Traits, by_about
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.wire import SandboxRefusal, openai_error

__all__ = ["ANTHROPIC"]

_INVALID = "invalid_request_error"


def _error(refusal: SandboxRefusal) -> Any:
    """The native shape for what the platform refuses, OpenAI's for what the endpoint does."""
    if refusal.about not in {"overloaded", "status_500", "status_503"}:
        return openai_error(refusal)
    error = {"type": refusal.kind, "message": refusal.message}
    return {"type": "error", "error": error, "request_id": "req_sandbox"}


def _many(prompt: Prompt) -> bool:
    return prompt.body.get("n") not in {None, 1}


# https://platform.claude.com/docs/en/api/openai-sdk: response_format, seed, logprobs and others
# are ignored, n must be 1, temperature above 1 is taken as 1.
_ONE_CHOICE = RefusalRule(
    "n", SandboxRefusal(400, _INVALID, "n: only the value 1 is supported."), _many
)
# github.com/musistudio/claude-code-router/issues/1654 quotes the documentation of these models
_NO_TEMPERATURE = RefusalRule(
    "temperature", SandboxRefusal(400, _INVALID, "temperature: not supported by this model.")
)

ANTHROPIC = Profile(
    name="anthropic",
    base="/v1",
    routes=(ChatRoute("/v1/chat/completions"),),
    models={
        "claude-sonnet-4-5": Traits(context_tokens=200_000),
        "claude-haiku-4-5": Traits(context_tokens=200_000),
        "claude-opus-4-8": Traits((_NO_TEMPERATURE,), context_tokens=200_000),
    },
    rules=(_ONE_CHOICE,),
    refusals=by_about(
        key_missing=SandboxRefusal(
            401, None, "x-api-key header is required", "authentication_error"
        ),
        key=SandboxRefusal(401, None, "invalid x-api-key", "authentication_error"),
        forbidden=SandboxRefusal(
            403, None, "This key may not use this resource.", "permission_error"
        ),
        # https://platform.claude.com/docs/en/api/errors; wording: shared by many client issues
        unpaid=SandboxRefusal(
            400, _INVALID, "Your credit balance is too low to access the API.", _INVALID
        ),
        exhausted=SandboxRefusal(
            400, _INVALID, "Your credit balance is too low to access the API.", _INVALID
        ),
        model=SandboxRefusal(404, None, "model: {model}", "not_found_error"),
        wait=SandboxRefusal(
            429,
            None,
            "This request would exceed the rate limit of {limit} {unit}.",
            "rate_limit_error",
        ),
        length=SandboxRefusal(
            400, None, "prompt is too long: {tokens} tokens > {context} maximum", _INVALID
        ),
        # github.com/anthropics/anthropic-sdk-typescript/issues/616
        overloaded=SandboxRefusal(
            529, None, "Overloaded", "overloaded_error", headers={"x-should-retry": "true"}
        ),
        status_500=SandboxRefusal(500, None, "Internal server error", "api_error"),
    ),
    shape=_error,
    retry_after=("seconds",),
    limits=anthropic_limits,
    format_ignored=True,
)
