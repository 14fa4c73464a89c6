"""Mistral."""

from __future__ import annotations

from typing import Any

from deployments.sandbox.profiles.record import ChatRoute, Profile, Traits, by_about, flat_error
from deployments.sandbox.wire import SandboxRefusal, Style

__all__ = ["MISTRAL"]

# https://docs.mistral.ai/api/endpoint/chat; seed is random_seed there. What is not in it is a 422:
# github.com/dnakov/anon-kode/issues/53 (stream_options), editor-code-assistant/eca#231
# (max_completion_tokens), mistralai/platform-docs-public#7
_PARAMETERS = frozenset({
    "frequency_penalty", "max_tokens", "messages", "metadata", "model", "n",
    "parallel_tool_calls", "prediction", "presence_penalty", "prompt_mode", "random_seed",
    "response_format", "safe_prompt", "stop", "stream", "temperature", "tool_choice", "tools",
    "top_p",
})  # fmt: skip


def _error(refusal: SandboxRefusal) -> Any:
    # With `detail` alone: github.com/Gitlawb/openclaude/issues/739
    return flat_error(refusal, refusal.code)


def _unknown(name: str, value: Any) -> SandboxRefusal:
    detail = {
        "type": "extra_forbidden",
        "loc": ["body", name],
        "msg": "Extra inputs are not permitted",
        "input": value,
    }
    return SandboxRefusal(422, None, "", more={"detail": [detail]})


MISTRAL = Profile(
    name="mistral",
    base="/v1",
    routes=(ChatRoute("/v1/chat/completions"),),
    models={
        "mistral-small-latest": Traits(context_tokens=131_072),
        # https://docs.mistral.ai/capabilities/reasoning: content is a list with a thinking part
        "magistral-medium-latest": Traits(context_tokens=131_072, reasons=True, parts=True),
    },
    accepted=_PARAMETERS,
    unknown=_unknown,
    refusals=by_about(
        key_missing=SandboxRefusal(401, None, "", more={"detail": "Unauthorized"}),
        key=SandboxRefusal(401, None, "", more={"detail": "Unauthorized"}),
        # github.com/tmc/langchaingo/issues/1233
        model=SandboxRefusal(400, "1500", "Invalid model: {model}", "invalid_model"),
        # github.com/cline/cline/issues/9085; no Retry-After
        wait=SandboxRefusal(429, "1300", "Rate limit exceeded", "rate_limited"),
        length=SandboxRefusal(
            400,
            "3051",
            "Prompt contains {tokens} tokens, too large for model with {context} maximum "
            "context length",
            "invalid_request_prompt",
        ),
        # github.com/BerriAI/litellm/pull/25078 (status), github.com/continuedev/continue/issues/6185
        status_503=SandboxRefusal(
            503,
            None,
            "Service tier capacity exceeded for this model.",
            "invalid_request_error",
        ),
        route=SandboxRefusal(404, None, "", more={"detail": "Not Found"}),
    ),
    shape=_error,
    style=Style(usage="beside"),
)
