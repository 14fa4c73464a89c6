"""DeepSeek."""

from __future__ import annotations

from deployments.sandbox.profiles.openai import JSON_WORD
from deployments.sandbox.profiles.record import ChatRoute, Profile, Traits, by_about
from deployments.sandbox.wire import SandboxRefusal, Style

__all__ = ["DEEPSEEK"]

_INVALID = "invalid_request_error"

DEEPSEEK = Profile(
    name="deepseek",
    base="/v1",
    # https://api-docs.deepseek.com: the base_url works with and without /v1
    routes=(ChatRoute("/v1/chat/completions"), ChatRoute("/chat/completions")),
    models={
        # https://api-docs.deepseek.com/guides/json_mode: json_object is all there is
        "deepseek-chat": Traits(response_format="json_object", context_tokens=128_000),
        # https://api-docs.deepseek.com/guides/reasoning_model: reasoning_content beside content
        "deepseek-reasoner": Traits(
            response_format="json_object", context_tokens=128_000, reasons=True
        ),
    },
    traits=Traits(response_format="json_object"),
    rules=(JSON_WORD,),
    # Statuses: https://api-docs.deepseek.com/quick_start/error_codes
    refusals=by_about(
        key_missing=SandboxRefusal(
            401, _INVALID, "Authentication Fails (no key)", "authentication_error"
        ),
        key=SandboxRefusal(
            401, _INVALID, "Authentication Fails (no such user)", "authentication_error"
        ),
        unpaid=SandboxRefusal(402, _INVALID, "Insufficient Balance", "unknown_error"),
        exhausted=SandboxRefusal(402, _INVALID, "Insufficient Balance", "unknown_error"),
        # github.com/deepwn/addi/issues/13
        model=SandboxRefusal(400, _INVALID, "Model Not Exist"),
        # github.com/ItzCrazyKns/Vane/issues/969
        format=SandboxRefusal(400, _INVALID, "This response_format type is unavailable now"),
        filter=SandboxRefusal(400, _INVALID, "Content Exists Risk"),
        wait=SandboxRefusal(429, _INVALID, "Rate limit reached", "rate_limit_reached"),
        length=SandboxRefusal(
            400,
            _INVALID,
            "This model's maximum context length is {context} tokens. "
            "However, you requested {tokens} tokens.",
        ),
        status_503=SandboxRefusal(503, None, "Service is too busy", "service_unavailable_error"),
    ),
    # https://api-docs.deepseek.com/quick_start/rate_limit: while a request waits, empty lines come,
    # or SSE comments
    style=Style(reasoning_field="reasoning_content", blank=b"\n\n", comment=b": keep-alive\n\n"),
    # https://api-docs.deepseek.com/api/create-chat-completion, finish_reason
    broken_end="insufficient_system_resource",
    shows_cache=True,
)
