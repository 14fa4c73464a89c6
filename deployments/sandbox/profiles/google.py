"""Gemini's OpenAI-compatible endpoint."""

from __future__ import annotations

from typing import Any

from deployments.sandbox.profiles.record import ChatRoute, Profile, Traits, by_about
from deployments.sandbox.wire import SandboxRefusal

__all__ = ["GEMINI"]

_RPC = "type.googleapis.com/google.rpc."
_DAY = 86_400.0
_SOON = 34.0

# https://ai.google.dev/gemini-api/docs/openai
_PARAMETERS = frozenset({
    "extra_body", "frequency_penalty", "logprobs", "max_completion_tokens", "max_tokens",
    "messages", "modalities", "model", "n", "parallel_tool_calls", "presence_penalty",
    "reasoning_effort", "response_format", "seed", "stop", "stream", "stream_options",
    "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user",
})  # fmt: skip


def _error(refusal: SandboxRefusal) -> Any:
    """A list of one object, as google.rpc.Status; `kind` is the status, `more` the details."""
    error: dict[str, Any] = {
        "code": refusal.status,
        "message": refusal.message,
        "status": refusal.kind,
    }
    details = [*refusal.more.get("details", ()), *_retry(refusal)]
    return [{"error": error | ({"details": details} if details else {})}]


def _retry(refusal: SandboxRefusal) -> list[dict[str, Any]]:
    """Of both limits; the day's is met with the minute's wait beside it."""
    if refusal.about not in {"wait", "exhausted"}:
        return []
    by_day = refusal.about == "exhausted" or refusal.facts["seconds"] >= _DAY
    period = "PerDay" if by_day else "PerMinute"
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": f"GenerateRequests{period}PerProjectPerModel-FreeTier",
        "quotaValue": str(refusal.facts["limit"]),
    }
    return [
        {"@type": f"{_RPC}QuotaFailure", "violations": [violation]},
        {"@type": f"{_RPC}RetryInfo", "retryDelay": f"{refusal.wait or _SOON:.3f}s"},
    ]


def _unknown(name: str, _: Any) -> SandboxRefusal:
    # github.com/bytedance/deer-flow/issues/1515
    message = f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
    details = [{"@type": f"{_RPC}BadRequest", "fieldViolations": [{"description": message}]}]
    return SandboxRefusal(400, None, message, "INVALID_ARGUMENT", more={"details": details})


_BAD_KEY = [
    {
        "@type": f"{_RPC}ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
]

GEMINI = Profile(
    name="gemini",
    base="/v1beta/openai",
    routes=(ChatRoute("/v1beta/openai/chat/completions"),),
    models={
        "gemini-2.5-flash": Traits(context_tokens=1_048_576),
        "gemini-2.5-pro": Traits(context_tokens=1_048_576),
    },
    accepted=_PARAMETERS,
    unknown=_unknown,
    refusals=by_about(
        key_missing=SandboxRefusal(
            400, None, "Missing or invalid Authorization header.", "INVALID_ARGUMENT"
        ),
        # https://ai.google.dev/gemini-api/docs/troubleshooting
        key=SandboxRefusal(
            400,
            None,
            "API key not valid. Please pass a valid API key.",
            "INVALID_ARGUMENT",
            more={"details": _BAD_KEY},
        ),
        forbidden=SandboxRefusal(
            403, None, "The caller does not have permission", "PERMISSION_DENIED"
        ),
        model=SandboxRefusal(
            404, None, "models/{model} is not found for this API version.", "NOT_FOUND"
        ),
        model_denied=SandboxRefusal(403, None, "No permission for {model}", "PERMISSION_DENIED"),
        # github.com/n4ze3m/page-assist/issues/406, https://ai.google.dev/gemini-api/docs/rate-limits
        wait=SandboxRefusal(
            429,
            None,
            "Quota exceeded: limit {limit}, model {model}. Please retry in {wait:.3f}s.",
            "RESOURCE_EXHAUSTED",
        ),
        exhausted=SandboxRefusal(
            429,
            None,
            "You exceeded your current quota, please check your plan and billing details.",
            "RESOURCE_EXHAUSTED",
        ),
        unpaid=SandboxRefusal(400, None, "Billing is not active.", "FAILED_PRECONDITION"),
        length=SandboxRefusal(
            400,
            None,
            "The input token count ({tokens}) exceeds the maximum number of tokens allowed "
            "({context}).",
            "INVALID_ARGUMENT",
        ),
        format=SandboxRefusal(
            400,
            None,
            'Invalid JSON payload received. Unknown name "additionalProperties" at '
            "'generation_config.response_schema': Cannot find field.",
            "INVALID_ARGUMENT",
        ),
        status_500=SandboxRefusal(500, None, "An internal error has occurred.", "INTERNAL"),
        status_503=SandboxRefusal(503, None, "The model is overloaded.", "UNAVAILABLE"),
        request=SandboxRefusal(
            400, None, "Request contains an invalid argument.", "INVALID_ARGUMENT"
        ),
        route=SandboxRefusal(404, None, "Not Found", "NOT_FOUND"),
    ),
    shape=_error,
)
