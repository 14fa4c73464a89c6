"""The answer to one prompt, whichever way it came: online, flex, or as a row of a batch."""

from __future__ import annotations

from deployments.sandbox import skills
from deployments.sandbox.config import SandboxConfig
from deployments.sandbox.faults import Fault
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.prompt_cache import PromptCache
from deployments.sandbox.spoil import spoiled
from deployments.sandbox.thinking import spent, thought_about
from deployments.sandbox.wire import SandboxReply

__all__ = ["answered", "cached_tokens"]


def answered(
    prompt: Prompt,
    model: str,
    reply_id: str,
    config: SandboxConfig,
    *,
    fault: Fault | None,
    cached: int | None,
) -> SandboxReply:
    """The reply, spoiled where the fault is one of content."""
    done = spoiled(_completion(prompt, model, reply_id, config, cached), fault, config)
    return spent(done, prompt.max_tokens) if fault is Fault.REASONING_SPENT else done


def _completion(
    prompt: Prompt, model: str, reply_id: str, config: SandboxConfig, cached: int | None
) -> SandboxReply:
    spec, traits = config.spec(model), config.traits(model)
    if config.provider.cuts_prompt and traits.context_tokens is not None:
        prompt = prompt.last(traits.context_tokens)
    content = skills.content_for(prompt, model, spec, config)
    if config.provider.format_ignored and prompt.response_format != "text":
        content = f"```json\n{content}\n```"
    asked = prompt.body.get("service_tier")
    done = SandboxReply(
        reply_id=reply_id,
        model=model,
        content=content,
        prompt_tokens=prompt.tokens,
        cached_tokens=cached,
        tier=asked if isinstance(asked, str) else None,
    )
    return thought_about(done, prompt, traits)


def cached_tokens(
    prompt: Prompt, model: str, config: SandboxConfig, cache: PromptCache, scope: str
) -> int | None:
    """Tokens of the prompt that come from the cache of that scope; None: it is not told."""
    spec, traits = config.spec(model), config.traits(model)
    if config.provider.cuts_prompt and traits.context_tokens is not None:
        prompt = prompt.last(traits.context_tokens)
    if spec.cached_share is not None:
        return int(prompt.tokens * spec.cached_share)
    if not config.prompt_cache:
        return 0 if config.provider.shows_cache else None
    return cache.cached(scope, prompt.text)
