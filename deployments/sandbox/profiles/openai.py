"""OpenAI: the plain endpoint that takes everything, and its reasoning models."""

from __future__ import annotations

from typing import Any

from deployments.sandbox.limits import openai_limits
from deployments.sandbox.profiles.record import ChatRoute, Profile, RefusalRule, Traits, by_about
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.wire import SandboxRefusal

__all__ = ["JSON_WORD", "PLAIN", "REASONING", "REASONING_RULES"]

# https://platform.openai.com/docs/api-reference/chat/create
_PARAMETERS = frozenset({
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model", "n",
    "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key",
    "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop",
    "store", "stream", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs",
    "top_p", "user", "verbosity", "web_search_options",
})  # fmt: skip


def _unknown(name: str, _: Any) -> SandboxRefusal:
    return SandboxRefusal(400, "unknown_parameter", f"Unknown parameter: '{name}'.", param=name)


def _not_one(prompt: Prompt) -> bool:
    return prompt.body.get("temperature") not in {None, 1}


def _system(prompt: Prompt) -> bool:
    return "system" in prompt.roles


def _no_json(prompt: Prompt) -> bool:
    return prompt.response_format == "json_object" and "json" not in prompt.text.lower()


# github.com/IBM/chuk-llm/issues/3, https://platform.openai.com/docs/guides/reasoning
_MAX_TOKENS = RefusalRule(
    "max_tokens",
    SandboxRefusal(
        400,
        "unsupported_parameter",
        "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
        param="max_tokens",
    ),
)
# github.com/ai-shifu/ChatALL/issues/995
_TEMPERATURE_ONE = RefusalRule(
    "temperature",
    SandboxRefusal(
        400,
        "unsupported_value",
        "Unsupported value: 'temperature' does not support {value} with this model. "
        "Only the default (1) value is supported.",
        param="temperature",
    ),
    _not_one,
)
# github.com/ai-christianson/RA.Aid/issues/70: whatever its value
_NO_TEMPERATURE = RefusalRule(
    "temperature",
    SandboxRefusal(
        400,
        "unsupported_parameter",
        "Unsupported parameter: 'temperature' is not supported with this model.",
        param="temperature",
    ),
)
# platform.openai.com/docs/guides/reasoning: o1-mini takes no system message
_NO_SYSTEM = RefusalRule(
    "messages",
    SandboxRefusal(
        400,
        "unsupported_value",
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        param="messages[0].role",
    ),
    _system,
)
# platform.openai.com/docs/guides/structured-outputs#json-mode
JSON_WORD = RefusalRule(
    "messages",
    SandboxRefusal(
        400,
        None,
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
        "'json_object'.",
        param="messages",
    ),
    _no_json,
)
REASONING_RULES = (_MAX_TOKENS, _TEMPERATURE_ONE)

PLAIN = Profile(
    name="plain",
    base="/v1",
    batches="openai",
    routes=(ChatRoute("/v1/chat/completions"),),
    strict=False,
    retry_after=("seconds",),
)

REASONING = Profile(
    name="openai-reasoning",
    base="/v1",
    batches="openai",
    routes=(ChatRoute("/v1/chat/completions"),),
    models={
        "gpt-5": Traits(REASONING_RULES, reasons=True, context_tokens=272_000),
        "gpt-5-mini": Traits(REASONING_RULES, reasons=True, context_tokens=272_000),
        "o3-mini": Traits((_MAX_TOKENS, _NO_TEMPERATURE), reasons=True, context_tokens=200_000),
        "o1-mini": Traits(
            (_MAX_TOKENS, _NO_SYSTEM, _TEMPERATURE_ONE),
            response_format="none",
            reasons=True,
            context_tokens=128_000,
        ),
        "gpt-4.1": Traits(context_tokens=1_000_000),
    },
    traits=Traits(REASONING_RULES, reasons=True),
    accepted=_PARAMETERS,
    unknown=_unknown,
    rules=(JSON_WORD,),
    refusals=by_about(
        # github.com/Aider-AI/aider/issues/2031
        model=SandboxRefusal(
            404,
            "model_not_found",
            "The model `{model}` does not exist or you do not have access to it.",
        ),
        # platform.openai.com/docs/guides/rate-limits
        wait=SandboxRefusal(
            429,
            "rate_limit_exceeded",
            "Rate limit reached for {model} on {unit}: Limit {limit}. "
            "Please try again in {wait:.3f}s.",
            kind="requests",
        ),
        length=SandboxRefusal(
            400,
            "context_length_exceeded",
            "This model's maximum context length is {context} tokens. "
            "However, your messages resulted in {tokens} tokens.",
            param="messages",
        ),
    ),
    retry_after=("seconds", "ms"),
    limits=openai_limits,
    shows_cache=True,
)
