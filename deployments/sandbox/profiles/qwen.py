"""Qwen at Alibaba Model Studio (DashScope), compatible mode."""

from __future__ import annotations

from typing import Any

from deployments.sandbox.profiles.openai import JSON_WORD
from deployments.sandbox.profiles.record import ChatRoute, Profile, RefusalRule, Traits, by_about
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.wire import SandboxRefusal, Style, openai_error

__all__ = ["QWEN"]

_PARAMETER = "invalid_parameter_error"


def _error(refusal: SandboxRefusal) -> Any:
    # github.com/infiniflow/ragflow/issues/8972
    return {**openai_error(refusal), "id": "chatcmpl-sandbox", "request_id": "sandbox"}


def _thinks(prompt: Prompt) -> bool:
    return not prompt.body.get("stream") and prompt.body.get("enable_thinking") is not False


# github.com/OpenBMB/UltraRAG/issues/287: the open models think unless told otherwise, and thinking
# is for streams only
_THINKING = RefusalRule(
    "enable_thinking",
    SandboxRefusal(
        400, _PARAMETER, "parameter.enable_thinking must be set to false for non-streaming calls"
    ),
    _thinks,
)

# Codes: https://www.alibabacloud.com/help/en/model-studio/error-code
QWEN = Profile(
    name="qwen",
    base="/compatible-mode/v1",
    routes=(ChatRoute("/compatible-mode/v1/chat/completions"),),
    models={
        "qwen3-32b": Traits((_THINKING,), context_tokens=131_072, reasons=True),
        "qwen-plus": Traits(context_tokens=131_072),
    },
    rules=(JSON_WORD,),
    refusals=by_about(
        key_missing=SandboxRefusal(401, "invalid_api_key", "You didn't provide an API key."),
        key=SandboxRefusal(401, "invalid_api_key", "Incorrect API key provided."),
        forbidden=SandboxRefusal(403, "access_denied", "Access denied.", "access_denied"),
        unpaid=SandboxRefusal(
            400, "Arrearage", "Access denied: the account is overdue.", "Arrearage"
        ),
        exhausted=SandboxRefusal(
            429, "insufficient_quota", "You exceeded your current quota.", "insufficient_quota"
        ),
        model=SandboxRefusal(
            404,
            "model_not_found",
            "The model `{model}` does not exist or you do not have access to it.",
        ),
        wait=SandboxRefusal(
            429, "limit_requests", "You exceeded your current requests list.", "limit_requests"
        ),
        filter=SandboxRefusal(
            400,
            "data_inspection_failed",
            "Input data may contain inappropriate content.",
            "data_inspection_failed",
        ),
        length=SandboxRefusal(400, _PARAMETER, "Range of input length should be [1, {context}]"),
    ),
    shape=_error,
    style=Style(reasoning_field="reasoning_content"),
    shows_cache=True,
)
