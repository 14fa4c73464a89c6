"""The bill: tokens and money by tier, so that tests can compare what ways of asking cost."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from deployments.sandbox.config import SandboxConfig
from deployments.sandbox.wire import SandboxReply

__all__ = ["Bill", "question_of"]

TIERS = ("online", "batch", "flex")


def question_of(model: str, body: dict[str, Any]) -> str:
    """Identity of a question, however it is asked: its model and messages."""
    return hashlib.sha256(orjson.dumps([model, body.get("messages")])).hexdigest()


@dataclass(slots=True)
class Bill:
    """What was charged since the last reset."""

    tokens: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    """By tier and model: calls, prompt, cached and completion tokens."""
    questions: Counter[str] = field(default_factory=Counter)
    """How often each was charged, over all tiers."""

    def charge(self, tier: str, done: SandboxReply, question: str) -> None:
        """One answer more."""
        self.questions[question] += 1
        counts = self.tokens.setdefault((tier, done.model), Counter())
        counts["calls"] += 1
        counts["prompt_tokens"] += done.prompt_tokens
        counts["cached_tokens"] += done.cached_tokens or 0
        counts["completion_tokens"] += done.completion_tokens

    def summary(self, config: SandboxConfig) -> dict[str, Any]:
        """Tokens and US dollars by tier as plain data."""
        tiers = {tier: self._tier(tier, config) for tier in TIERS}
        return {
            "tiers": tiers,
            "usd": sum(found["usd"] for found in tiers.values()),
            "questions": len(self.questions),
            "questions_twice": self.questions.total() - len(self.questions),
        }

    def _tier(self, tier: str, config: SandboxConfig) -> dict[str, Any]:
        names = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens")
        found: dict[str, Any] = dict.fromkeys(names, 0)
        factor = {"batch": config.batch.price, "flex": config.flex_price}.get(tier, 1.0)
        dollars = 0.0
        for (of, model), counts in self.tokens.items():
            if of == tier:
                found = {name: found[name] + counts[name] for name in names}
                dollars += _cost(counts, model, config)
        return found | {"usd": dollars * factor}


def _cost(counts: Counter[str], model: str, config: SandboxConfig) -> float:
    price = config.spec(model).price
    cached, prompt = counts["cached_tokens"], counts["prompt_tokens"]
    cheap = price.input if price.cached is None else price.cached
    dollars = (prompt - cached) * price.input + cached * cheap
    return (dollars + counts["completion_tokens"] * price.output) / 1e6
