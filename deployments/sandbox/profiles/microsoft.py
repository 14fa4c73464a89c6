"""Azure OpenAI and GitHub Models."""

from __future__ import annotations

from typing import Any

from deployments.sandbox.limits import azure_limits
from deployments.sandbox.profiles.openai import REASONING, REASONING_RULES
from deployments.sandbox.profiles.record import ChatRoute, Profile, Traits, by_about
from deployments.sandbox.wire import SandboxRefusal, Style
from tasks.core.quotas import Window

__all__ = ["AZURE", "GITHUB_MODELS"]

_CLEAN = {
    name: {"filtered": False, "severity": "safe"}
    for name in ("hate", "self_harm", "sexual", "violence")
}
_FLAGGED = {**_CLEAN, "violence": {"filtered": True, "severity": "medium"}}
_PROMPT_RESULTS = [{"prompt_index": 0, "content_filter_results": _CLEAN}]
_DAY = 86_400.0


def _azure_error(refusal: SandboxRefusal) -> Any:
    """Code and message; the service behind it adds type and param to what it refuses itself."""
    error: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
    if refusal.param is not None:
        error |= {"type": refusal.kind, "param": refusal.param}
    return {"error": error | dict(refusal.more)}


# https://learn.microsoft.com/azure/ai-foundry/openai/reference (paths, api-version, api-key)
# https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle (/openai/v1)
# https://learn.microsoft.com/azure/ai-foundry/openai/quotas-limits: quota is per subscription,
# region and model, so both keys of a resource share it.
AZURE = Profile(
    name="azure",
    base="/openai/v1",
    batches="azure",
    routes=(
        ChatRoute(
            "/openai/deployments/{model}/chat/completions",
            key_headers=("api-key",),
            query=("api-version",),
        ),
        ChatRoute("/openai/v1/chat/completions", key_headers=("api-key", "authorization")),
    ),
    models={
        "gpt-4.1": Traits(context_tokens=1_000_000),
        "gpt-5": Traits(REASONING_RULES, reasons=True, context_tokens=272_000),
    },
    accepted=REASONING.accepted,
    unknown=REASONING.unknown,
    rules=REASONING.rules,
    refusals=by_about(
        key_missing=SandboxRefusal(
            401, "401", "Access denied: no subscription key or no access token was sent."
        ),
        key=SandboxRefusal(
            401,
            "401",
            "Access denied due to invalid subscription key or wrong API endpoint.",
        ),
        forbidden=SandboxRefusal(403, "403", "Public access is disabled for this resource."),
        # github.com/rusiaaman/chat.md/issues/2
        model=SandboxRefusal(
            404,
            "DeploymentNotFound",
            "The API deployment for this resource does not exist: {model}.",
        ),
        route=SandboxRefusal(404, "404", "Resource not found"),
        wait=SandboxRefusal(
            429,
            "429",
            "Requests have exceeded the call rate limit of your current tier: {limit} {unit} in "
            "{seconds:g} seconds. Please retry after {wait:.0f} seconds.",
        ),
        # github.com/compl-ai/compl-ai/issues/20
        filter=SandboxRefusal(
            400,
            "content_filter",
            "The response was filtered due to the prompt triggering the content management policy.",
            kind=None,
            param="prompt",
            more={
                "status": 400,
                "innererror": {
                    "code": "ResponsibleAIPolicyViolation",
                    "content_filter_result": _FLAGGED,
                },
            },
        ),
        length=REASONING.refusals["length"],
    ),
    shape=_azure_error,
    retry_after=("seconds", "ms"),
    limits=azure_limits,
    shared_quota=True,
    style=Style(
        choice={"content_filter_results": _CLEAN},
        opening={"prompt_filter_results": _PROMPT_RESULTS},
    ),
    shows_cache=True,
)


def _github_error(refusal: SandboxRefusal) -> Any:
    return {
        "error": {
            "code": refusal.code,
            "message": refusal.message,
            "details": refusal.message,
        }
    }


def _scope(refusal: SandboxRefusal) -> str:
    return "UserByModelByDay" if refusal.facts["seconds"] >= _DAY else "UserByModelByMinute"


def _github_limited(refusal: SandboxRefusal) -> dict[str, str]:
    if refusal.about != "wait":
        return {}
    return {
        "x-ratelimit-type": _scope(refusal),
        "x-ratelimit-timeremaining": f"{refusal.wait or 0:.0f}",
    }


# github.com/orgs/community/discussions/137298 and /138918 (requests a day, and tokens of a request,
# in and out apart); github.com/Aider-AI/aider/issues/2296 (4,000 in, and more came out)
GITHUB_MODELS = Profile(
    name="github-models",
    base="/inference",
    routes=(ChatRoute("/inference/chat/completions"),),
    models={
        "openai/gpt-4.1": Traits(context_tokens=8_000),
        "openai/gpt-5": Traits(REASONING_RULES, reasons=True, context_tokens=4_000),
        "meta/llama-3.3-70b-instruct": Traits(response_format="json_object", context_tokens=8_000),
    },
    traits=Traits(context_tokens=8_000),
    refusals=by_about(
        key_missing=SandboxRefusal(401, "unauthorized", "Unauthorized"),
        key=SandboxRefusal(401, "unauthorized", "Bad credentials"),
        model_denied=SandboxRefusal(403, "no_access", "No access to model: {model}"),
        model=SandboxRefusal(400, "unknown_model", "Unknown model: {model}"),
        wait=SandboxRefusal(
            429,
            "RateLimitReached",
            "Rate limit of {limit} per {seconds:g}s exceeded. "
            "Please wait {wait:.0f} seconds before retrying.",
        ),
        # github.com/eslint/tsc-meetings/pull/593
        length=SandboxRefusal(
            413,
            "tokens_limit_reached",
            "Request body too large for {model} model. Max size: {context} tokens.",
        ),
    ),
    shape=_github_error,
    prompt_alone=True,
    refusal_headers=_github_limited,
    retry_after=("seconds",),
    quota=(Window(10, 60.0), Window(50, _DAY)),
)
