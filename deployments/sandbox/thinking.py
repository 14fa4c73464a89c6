"""Thoughts of reasoning models in a reply: shown or hidden, and paid from its tokens."""

from __future__ import annotations

from dataclasses import replace

from deployments.sandbox.profiles import Traits
from deployments.sandbox.prompt import Prompt
from deployments.sandbox.wire import SandboxReply

__all__ = ["spent", "thought_about"]

_UNIT = 64  # OpenAI reports reasoning in steps of 64 tokens
_UNLIMITED = 4096
_NONE = {"none", "minimal"}


def thought_about(done: SandboxReply, prompt: Prompt, traits: Traits) -> SandboxReply:
    """`done` as a model gives it that thinks first; unchanged if this one does not."""
    if not traits.reasons or not _wanted(prompt):
        return done
    tokens = _UNIT * (2 + prompt.tokens // 512)
    budget = prompt.max_tokens
    if budget and tokens >= budget:
        return spent(done, budget)
    done = replace(done, reasoning=_thoughts(prompt), reasoning_tokens=tokens, parts=traits.parts)
    if budget and done.completion_tokens > budget:
        content = (done.content or "")[: (budget - tokens) * 4]
        done = replace(done, content=content, finish_reason="length")
    if traits.mute and prompt.response_format != "text":
        return replace(done, content=None, reasoning=done.content)
    return done


def spent(done: SandboxReply, budget: int) -> SandboxReply:
    """A reply of `budget` tokens (0: no limit was set) that all went into thinking."""
    return replace(
        done,
        content="",
        reasoning="Thinking",
        reasoning_tokens=budget or _UNLIMITED,
        finish_reason="length",
    )


def _wanted(prompt: Prompt) -> bool:
    body = prompt.body
    return body.get("reasoning_effort") not in _NONE and body.get("enable_thinking") is not False


def _thoughts(prompt: Prompt) -> str:
    return f"I read {prompt.tokens} tokens, line by line, and weigh what can fail."
