"""
Every error the sandbox answers, with OpenAI's codes and wording.

A profile replaces them by its own: `about` says which.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from deployments.sandbox.config import SandboxConfig
from deployments.sandbox.faults import Fault
from deployments.sandbox.limits import go_span
from deployments.sandbox.meter import Ruling
from deployments.sandbox.profiles import Traits
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.wire import SandboxRefusal
from tasks.core.quotas import Window

__all__ = ["BAD_JSON", "ERROR_BODY", "NO_ROUTE", "for_body", "for_fault", "for_key", "for_quota"]

_ACCEPTED = {
    "json_schema": {"text", "json_object", "json_schema"},
    "json_object": {"text", "json_object"},
    "none": {"text"},
}
BAD_JSON = SandboxRefusal(
    400, "invalid_json", "We could not parse the JSON body of your request.", about="json"
)
ERROR_BODY = SandboxRefusal(200, None, "The model crashed.", "server_error", about="error_body")
NO_ROUTE = SandboxRefusal(404, None, "There is no such route.", about="route")
_NO_KEY = SandboxRefusal(
    401, "missing_api_key", 'No key: send "Authorization: Bearer <key>".', about="key_missing"
)
_NO_MODEL = SandboxRefusal(404, "model_not_found", "The model does not exist.", param="model")
_NO_MESSAGES = SandboxRefusal(
    400, "missing_messages", "'messages' is required.", param="messages", about="messages"
)
_NO_FORMAT = SandboxRefusal(
    400,
    "unsupported_parameter",
    "Unsupported parameter: 'response_format' is not supported with this model.",
    param="response_format",
    about="format",
)
_TOO_LONG = SandboxRefusal(
    400,
    "context_length_exceeded",
    "This model's maximum context length is exceeded. Please reduce the length of the messages.",
    param="messages",
    about="length",
)
_BAD_KEY = SandboxRefusal(
    401, "invalid_api_key", "Incorrect API key provided. Check the key table.", about="key"
)
_FORBIDDEN = SandboxRefusal(
    403, "permission_denied", "This key may not use this endpoint.", about="forbidden"
)
_UNPAID = SandboxRefusal(
    402, "payment_required", "This account has an unpaid balance.", about="unpaid"
)
_EXHAUSTED = SandboxRefusal(
    429,
    "insufficient_quota",
    "You exceeded your current quota, please check your plan and billing details.",
    kind="insufficient_quota",
    about="exhausted",
)
_STATES = {
    "revoked": _BAD_KEY,
    "forbidden": _FORBIDDEN,
    "unpaid": _UNPAID,
    "exhausted": _EXHAUSTED,
}


def _crash(status: int, message: str, about: str) -> SandboxRefusal:
    return SandboxRefusal(status, None, message, kind="server_error", about=about)


_FIXED = {
    Fault.STATUS_400: SandboxRefusal(
        400, "invalid_value", "Invalid value in the request.", about="request"
    ),
    Fault.STATUS_401: _BAD_KEY,
    Fault.STATUS_402: _UNPAID,
    Fault.STATUS_403: _FORBIDDEN,
    Fault.STATUS_500: _crash(
        500, "The server had an error while processing your request.", "status_500"
    ),
    Fault.STATUS_502: _crash(502, "Bad gateway.", "status_502"),
    Fault.STATUS_503: _crash(
        503, "The engine is currently overloaded, please try again later.", "status_503"
    ),
    Fault.STATUS_529: _crash(529, "Overloaded.", "overloaded"),
    Fault.INSUFFICIENT_QUOTA: _EXHAUSTED,
    Fault.RESPONSE_FORMAT: _NO_FORMAT,
    Fault.CONTEXT_LENGTH: _TOO_LONG,
    Fault.CONTENT_POLICY: SandboxRefusal(
        400,
        "content_filter",
        "The prompt was filtered by the content management policy.",
        about="filter",
    ),
    Fault.MODEL_DENIED: SandboxRefusal(
        403, "model_not_found", "This key has no access to this model.", about="model_denied"
    ),
    Fault.JSON_VALIDATE: SandboxRefusal(
        400, "json_validate_failed", "The model's answer is no JSON.", about="json_validate"
    ),
    Fault.CAPACITY: SandboxRefusal(
        498, "capacity_exceeded", "There is no capacity in this tier.", about="capacity"
    ),
    # developers.openai.com/api/docs/guides/flex-processing: not charged
    Fault.FLEX_UNAVAILABLE: SandboxRefusal(
        429,
        "resource_unavailable",
        "Resource Unavailable: there are not enough resources for a flex request right now.",
        kind="resource_unavailable",
        about="flex",
    ),
}


def for_key(key: str | None, alias: str, config: SandboxConfig) -> SandboxRefusal | None:
    """401 without a known key, and what the state of a known one calls for."""
    if key is None:
        return None if config.provider.keyless and not config.strict_keys else _NO_KEY
    spec = config.keys.get(alias)
    if spec is None:
        return _BAD_KEY if config.strict_keys else None
    return _STATES.get(spec.state)


def for_quota(ruling: Ruling, model: str = "") -> SandboxRefusal:
    """429 of a sliding window that has no room for a while."""
    wait = ruling.wait or 0.0
    window = ruling.window or Window(1, 60.0)
    facts = {
        "model": model,
        "wait": wait,
        "span": go_span(wait),
        "limit": window.limit,
        "seconds": window.seconds,
        "unit": ruling.unit,
    }
    message = f"Rate limit reached. Please try again in {wait:.3f}s."
    return SandboxRefusal(
        429,
        "rate_limit_exceeded",
        message,
        kind="requests",
        wait=wait,
        about="wait",
        facts=facts,
    )


def for_body(
    prompt: Prompt, model: str, traits: Traits, config: SandboxConfig
) -> SandboxRefusal | None:
    """400 and 404 for what the provider and the model do not take."""
    facts: dict[str, Any] = {"model": model}
    if not config.knows(model):
        return replace(_NO_MODEL, about="model", facts=facts)
    messages = prompt.body.get("messages")
    if not isinstance(messages, list) or not messages:
        return _NO_MESSAGES
    refused = config.provider.refuse(prompt, model, traits)
    if refused is not None:
        return refused
    if _format(prompt, config) not in _ACCEPTED[traits.response_format]:
        return replace(_NO_FORMAT, facts=facts)
    asked = prompt.tokens + (0 if config.provider.prompt_alone else prompt.max_tokens)
    limit = traits.context_tokens
    if limit is None or asked <= limit or config.provider.cuts_prompt:
        return None
    return replace(_TOO_LONG, facts={**facts, "tokens": asked, "context": limit})


def _format(prompt: Prompt, config: SandboxConfig) -> str:
    return "text" if config.provider.format_ignored else prompt.response_format


def for_fault(fault: Fault, key: str, model: str, config: SandboxConfig) -> SandboxRefusal | None:
    """The error of an injected fault; None: this fault is not an error status."""
    if fault in _FIXED:
        return replace(_FIXED[fault], facts={"model": model})
    if fault is Fault.STATUS_429:
        return for_quota(Ruling(config.fault_wait), model)
    if fault is Fault.BUDGET_HOLD:
        return replace(_UNPAID, about="budget_hold", wait=config.fault_wait)
    message = f"Incorrect API key provided: {key}."
    if fault is Fault.ECHO_KEY:
        return SandboxRefusal(401, "invalid_api_key", message)
    return (
        SandboxRefusal(500, None, message, kind="server_error")
        if fault is Fault.ECHO_KEY_500
        else None
    )
