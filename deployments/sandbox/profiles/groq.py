"""Groq."""

from __future__ import annotations

from typing import Any

from deployments.sandbox.limits import groq_limits
from deployments.sandbox.profiles.record import ChatRoute, Profile, RefusalRule, Traits, by_about
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.wire import SandboxRefusal, Style, openai_error

__all__ = ["GROQ"]


def _error(refusal: SandboxRefusal) -> Any:
    """OpenAI's without nulls."""
    error = openai_error(refusal)["error"]
    return {"error": {name: value for name, value in error.items() if value is not None}}


def _many(prompt: Prompt) -> bool:
    return prompt.body.get("n") not in {None, 1}


def _unsupported(param: str) -> RefusalRule:
    message = f"property '{param}' is unsupported"
    return RefusalRule(param, SandboxRefusal(400, None, message))


# https://console.groq.com/docs/openai: what is refused with a 400
_RULES = (
    *map(_unsupported, ("logprobs", "logit_bias", "top_logprobs")),
    RefusalRule("n", SandboxRefusal(400, None, "'n' : number must be at most 1"), _many),
)

# Statuses and headers: https://console.groq.com/docs/errors and /rate-limits
GROQ = Profile(
    name="groq",
    base="/openai/v1",
    batches="openai",
    routes=(ChatRoute("/openai/v1/chat/completions"),),
    models={
        # https://console.groq.com/docs/structured-outputs: json_schema on some models only
        "openai/gpt-oss-20b": Traits(context_tokens=131_072, reasons=True),
        "llama-3.1-8b-instant": Traits(response_format="json_object", context_tokens=131_072),
    },
    rules=_RULES,
    refusals=by_about(
        key_missing=SandboxRefusal(401, "invalid_api_key", "Invalid API Key"),
        key=SandboxRefusal(401, "invalid_api_key", "Invalid API Key"),
        # github.com/Aider-AI/aider/issues/811
        model=SandboxRefusal(
            404,
            "model_not_found",
            "The model `{model}` does not exist or you do not have access to it.",
        ),
        wait=SandboxRefusal(
            429,
            "rate_limit_exceeded",
            "Rate limit reached for model `{model}` on {unit} per {seconds:g} seconds: "
            "Limit {limit}. Please try again in {span}.",
            kind="tokens",
        ),
        # github.com/ItzCrazyKns/Vane/issues/980
        format=SandboxRefusal(
            400,
            None,
            "This model does not support response format `json_schema`.",
            param="response_format",
        ),
        # github.com/HunorLaczko/ha-groq-cloud-api/issues/27: more than a minute's tokens at once
        length=SandboxRefusal(
            413,
            "rate_limit_exceeded",
            "Request too large for model `{model}` on tokens per minute (TPM): Limit {context}, "
            "Requested {tokens}.",
            kind="tokens",
        ),
        json_validate=SandboxRefusal(
            400,
            "json_validate_failed",
            "Failed to generate JSON. See 'failed_generation' for more details.",
            more={"failed_generation": '{"comments": [{"path": '},
        ),
        capacity=SandboxRefusal(498, "capacity_exceeded", "Flex tier capacity exceeded.", "flex"),
        status_503=SandboxRefusal(503, None, "Service Unavailable", "internal_server_error"),
    ),
    shape=_error,
    retry_after=("seconds",),
    limits=groq_limits,
    style=Style(reasoning_field="reasoning", body={"x_groq": {"id": "req_sandbox"}}),
)
