"""Providers as they document themselves: one record each, one file a family."""

from __future__ import annotations

from collections.abc import Mapping

from deployments.sandbox.profiles.anthropic import ANTHROPIC
from deployments.sandbox.profiles.deepseek import DEEPSEEK
from deployments.sandbox.profiles.google import GEMINI
from deployments.sandbox.profiles.groq import GROQ
from deployments.sandbox.profiles.microsoft import AZURE, GITHUB_MODELS
from deployments.sandbox.profiles.mistral import MISTRAL
from deployments.sandbox.profiles.openai import PLAIN, REASONING
from deployments.sandbox.profiles.openrouter import OPENROUTER
from deployments.sandbox.profiles.qwen import QWEN
from deployments.sandbox.profiles.record import ChatRoute, Profile, Traits
from deployments.sandbox.profiles.self_hosted import OLLAMA, VLLM
from deployments.sandbox.profiles.together import TOGETHER

__all__ = ["PROFILES", "ChatRoute", "Profile", "Traits"]

_ALL = (
    PLAIN,
    REASONING,
    AZURE,
    ANTHROPIC,
    GEMINI,
    DEEPSEEK,
    QWEN,
    OPENROUTER,
    VLLM,
    OLLAMA,
    GROQ,
    MISTRAL,
    TOGETHER,
    GITHUB_MODELS,
)
PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in _ALL}
"""By name; "plain" takes everything and is the default."""
