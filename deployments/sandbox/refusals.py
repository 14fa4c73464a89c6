"""Every error the sandbox answers, with the codes and wording of the real ones."""

from __future__ import annotations

from deployments.sandbox.config import ModelProfile, SandboxConfig
from deployments.sandbox.faults import Fault
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.wire import Refusal

__all__ = ["for_body", "for_fault", "for_key", "for_quota"]

_ACCEPTED = {
    "json_schema": {"text", "json_object", "json_schema"},
    "json_object": {"text", "json_object"},
    "none": {"text"},
}
_SERVER = {
    Fault.STATUS_500: "The server had an error while processing your request.",
    Fault.STATUS_502: "Bad gateway.",
    Fault.STATUS_503: "The engine is currently overloaded, please try again later.",
    Fault.STATUS_529: "Overloaded.",
}
_NO_FORMAT = Refusal(
    400,
    "unsupported_parameter",
    "Unsupported parameter: 'response_format' is not supported with this model.",
    param="response_format",
)
_TOO_LONG = Refusal(
    400,
    "context_length_exceeded",
    "This model's maximum context length is exceeded. Please reduce the length of the messages.",
    param="messages",
)
_BAD_KEY = Refusal(401, "invalid_api_key", "Incorrect API key provided. Check the key table.")
_FORBIDDEN = Refusal(403, "permission_denied", "This key may not use this endpoint.")
_UNPAID = Refusal(402, "payment_required", "This account has an unpaid balance.")
_EXHAUSTED = Refusal(
    429,
    "insufficient_quota",
    "You exceeded your current quota, please check your plan and billing details.",
    kind="insufficient_quota",
)
_FIXED = {
    Fault.STATUS_400: Refusal(400, "invalid_value", "Invalid value in the request."),
    Fault.STATUS_401: _BAD_KEY,
    Fault.STATUS_402: _UNPAID,
    Fault.STATUS_403: _FORBIDDEN,
    Fault.INSUFFICIENT_QUOTA: _EXHAUSTED,
    Fault.RESPONSE_FORMAT: _NO_FORMAT,
    Fault.CONTEXT_LENGTH: _TOO_LONG,
    Fault.CONTENT_POLICY: Refusal(
        400, "content_filter", "The prompt was filtered by the content management policy."
    ),
}


def for_key(key: str | None, alias: str, config: SandboxConfig) -> Refusal | None:
    """401 without a known key, and what the state of a known one calls for."""
    if key is None:
        return Refusal(401, "missing_api_key", 'No key: send "Authorization: Bearer <key>".')
    spec = config.keys.get(alias)
    if spec is None:
        return _BAD_KEY if config.strict_keys else None
    states = {"revoked": _BAD_KEY, "forbidden": _FORBIDDEN, "unpaid": _UNPAID}
    return _EXHAUSTED if spec.state == "exhausted" else states.get(spec.state)


def for_quota(wait: float) -> Refusal:
    """429 of a sliding window that has no room for `wait` seconds."""
    message = f"Rate limit reached. Please try again in {wait:.3f}s."
    return Refusal(429, "rate_limit_exceeded", message, kind="requests", wait=wait)


def for_body(prompt: Prompt, profile: ModelProfile, known_model: bool) -> Refusal | None:
    """400 and 404 for what the model does not take."""
    if not known_model:
        return Refusal(404, "model_not_found", "The model does not exist.", param="model")
    messages = prompt.body.get("messages")
    if not isinstance(messages, list) or not messages:
        return Refusal(400, "missing_messages", "'messages' is required.", param="messages")
    if prompt.response_format not in _ACCEPTED[profile.response_format]:
        return _NO_FORMAT
    asked = prompt.tokens + prompt.max_tokens
    limit = profile.context_tokens
    return _TOO_LONG if limit is not None and asked > limit else None


def for_fault(fault: Fault, key: str, config: SandboxConfig) -> Refusal | None:
    """The error of an injected fault; None: this fault is not an error status."""
    if fault in _FIXED:
        return _FIXED[fault]
    if fault in _SERVER:
        return Refusal(int(fault[-3:]), None, _SERVER[fault], kind="server_error")
    if fault is Fault.STATUS_429:
        return for_quota(config.fault_wait)
    message = f"Incorrect API key provided: {key}."
    if fault is Fault.ECHO_KEY:
        return Refusal(401, "invalid_api_key", message)
    return Refusal(500, None, message, kind="server_error") if fault is Fault.ECHO_KEY_500 else None
