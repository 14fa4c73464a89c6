"""Together."""

from __future__ import annotations

from typing import Any

from deployments.sandbox.limits import together_limits
from deployments.sandbox.profiles.record import ChatRoute, Profile, Traits, by_about
from deployments.sandbox.wire import SandboxRefusal, Style, openai_error

__all__ = ["TOGETHER"]


def _error(refusal: SandboxRefusal) -> Any:
    # github.com/HeyPuter/puter/issues/3168: an id beside the error
    return {"id": "sandbox-0000", **openai_error(refusal)}


TOGETHER = Profile(
    name="together",
    base="/v1",
    batches="together",
    routes=(ChatRoute("/v1/chat/completions"),),
    models={
        "meta-llama/Llama-3.3-70B-Instruct-Turbo": Traits(context_tokens=131_072),
        "deepseek-ai/DeepSeek-V3.1": Traits(context_tokens=128_000),
    },
    # Statuses: https://docs.together.ai/docs/error-codes
    refusals=by_about(
        key_missing=SandboxRefusal(401, "missing_api_key", "Missing API key"),
        key=SandboxRefusal(401, "invalid_api_key", "Invalid API key provided"),
        # github.com/expectedparrot/edsl/issues/2098
        unpaid=SandboxRefusal(402, None, "Credit limit exceeded", "credit_limit"),
        exhausted=SandboxRefusal(402, None, "Credit limit exceeded", "credit_limit"),
        # github.com/evo-design/evo/issues/14
        model=SandboxRefusal(404, "model_not_found", "Unable to access model {model}."),
        # https://docs.together.ai/docs/serverless/rate-limits: 429 above the dynamic rate, 503 at
        # or below it; x-ratelimit-limit is per second. Words, and the type of unpaid accounts, are
        # those of https://github.com/togethercomputer/MoA/issues/27
        wait=SandboxRefusal(
            429,
            None,
            "You have been rate limited. Your rate limit is {limit} {unit} in {seconds:g} seconds.",
            "credit_limit",
        ),
        status_503=SandboxRefusal(503, None, "The model is overloaded.", "overloaded"),
        # The documentation has 403 for it, github.com/SWE-agent/SWE-agent/issues/135 has met 400
        length=SandboxRefusal(
            403,
            None,
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= {context}. "
            "Given: {tokens}.",
        ),
    ),
    shape=_error,
    limits=together_limits,
    # https://docs.together.ai/reference/chat-completions-1: stop, eos, length, tool_calls
    style=Style(finish_reasons={"stop": "eos"}, body={"prompt": []}, usage="beside"),
)
