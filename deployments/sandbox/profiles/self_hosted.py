"""vLLM and Ollama, which people run themselves."""

from __future__ import annotations

from typing import Any

from deployments.sandbox.profiles.record import (
    ChatRoute,
    Profile,
    RefusalRule,
    Traits,
    by_about,
    flat_error,
)
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.wire import SandboxRefusal, Style, openai_error

__all__ = ["OLLAMA", "VLLM"]

_BAD = "BadRequestError"


def _vllm_error(refusal: SandboxRefusal) -> Any:
    # github.com/vllm-project/vllm/issues/3485; with FastAPI's `detail` or the key check's `error` alone
    return flat_error(refusal, refusal.status)


def _system(prompt: Prompt) -> bool:
    return "system" in prompt.roles


# The chat template of Gemma raises for a system message, and the server passes its words on.
_NO_SYSTEM = RefusalRule(
    "messages", SandboxRefusal(400, None, "System role not supported", _BAD), _system
)

# https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
VLLM = Profile(
    name="vllm",
    base="/v1",
    routes=(ChatRoute("/v1/chat/completions"),),
    models={
        "meta-llama/Llama-3.1-8B-Instruct": Traits(context_tokens=8_192),
        "google/gemma-3-4b-it": Traits((_NO_SYSTEM,), context_tokens=8_192),
        # github.com/vllm-project/vllm/issues/48865: a reply format and a reasoning parser together
        # give null content, and the answer is in reasoning_content
        "Qwen/Qwen3-8B": Traits(context_tokens=32_768, reasons=True, mute=True),
    },
    keyless=True,
    refusals=by_about(
        key_missing=SandboxRefusal(401, None, "", more={"error": "Unauthorized"}),
        key=SandboxRefusal(401, None, "", more={"error": "Unauthorized"}),
        model=SandboxRefusal(404, None, "The model `{model}` does not exist.", "NotFoundError"),
        length=SandboxRefusal(
            400,
            None,
            "This model's maximum context length is {context} tokens. However, you requested "
            "{tokens} tokens. Please reduce the length of the messages.",
            _BAD,
        ),
        format=SandboxRefusal(400, None, "Invalid grammar request", _BAD),
        status_500=SandboxRefusal(500, None, "Internal server error", "InternalServerError"),
        error_body=SandboxRefusal(500, None, "Internal server error", "InternalServerError"),
        route=SandboxRefusal(404, None, "", more={"detail": "Not Found"}),
    ),
    shape=_vllm_error,
    done_after_error=True,
    style=Style(reasoning_field="reasoning_content"),
)


def _ollama_error(refusal: SandboxRefusal) -> Any:
    """OpenAI's where the compatible layer speaks, a plain string where the server itself does."""
    if refusal.about in {"model", "length", "format", "request", "json", "messages"}:
        return openai_error(refusal)
    return refusal.message if refusal.about == "route" else {"error": refusal.message}


# https://docs.ollama.com/api/openai-compatibility; https://docs.ollama.com/faq: a context of 4,096
# tokens unless told otherwise, and what does not fit is left out without a word
OLLAMA = Profile(
    name="ollama",
    base="/v1",
    routes=(ChatRoute("/v1/chat/completions"),),
    models={
        "llama3.1:8b": Traits(context_tokens=4_096),
        "qwen3:8b": Traits(context_tokens=4_096, reasons=True),
    },
    traits=Traits(context_tokens=4_096),
    keyless=True,
    refusals=by_about(
        model=SandboxRefusal(
            404, None, 'model "{model}" not found, try pulling it first', "api_error"
        ),
        status_503=SandboxRefusal(
            503, None, "server busy, please try again.  maximum pending requests exceeded"
        ),
        status_500=SandboxRefusal(500, None, "llama runner process has terminated"),
        error_body=SandboxRefusal(200, None, "an error was encountered while running the model"),
        route=SandboxRefusal(404, None, "404 page not found"),
    ),
    shape=_ollama_error,
    cuts_prompt=True,
    style=Style(reasoning_field="reasoning"),
)
