"""Bodies as an OpenAI-compatible endpoint writes them: completions, chunks, errors."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import orjson

from deployments.sandbox.config import SandboxConfig
from deployments.sandbox.meter import KeyMeter

__all__ = [
    "Completion",
    "Refusal",
    "completion_body",
    "event",
    "events",
    "ratelimit_headers",
    "retry_headers",
]


@dataclass(frozen=True, slots=True)
class Completion:
    """What is answered, before it is written as one body or as a stream."""

    reply_id: str
    model: str
    content: str | None
    prompt_tokens: int
    finish_reason: str = "stop"
    refusal: str | None = None
    choices: bool = True
    cached_tokens: int | None = None

    @property
    def completion_tokens(self) -> int:
        """Length / 4, rounded up."""
        return -(-len(self.content or self.refusal or "") // 4)

    @property
    def usage(self) -> dict[str, Any]:
        """As in the body's `usage`."""
        total = self.prompt_tokens + self.completion_tokens
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": total,
        }
        if self.cached_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        return usage


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is an error."""

    status: int
    code: str | None
    message: str
    kind: str = "invalid_request_error"
    param: str | None = None
    wait: float | None = None
    """Seconds for Retry-After."""

    @property
    def body(self) -> bytes:
        """The error as OpenAI writes it."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return orjson.dumps({"error": error})


def completion_body(done: Completion) -> bytes:
    """A whole chat.completion."""
    message = {"role": "assistant", "content": done.content, "refusal": done.refusal}
    choice = {"index": 0, "message": message, "finish_reason": done.finish_reason, "logprobs": None}
    return orjson.dumps(
        {
            **_head(done, "chat.completion"),
            "choices": [choice] if done.choices else [],
            "usage": done.usage,
        }
    )


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def events(done: Completion, chunks: int, *, include_usage: bool) -> Iterator[bytes]:
    """A stream of chat.completion.chunk: the role, `chunks` of content, the end, usage, [DONE]."""
    head = _head(done, "chat.completion.chunk")
    extra = {"usage": None} if include_usage else {}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return event({**head, "choices": [choice] if done.choices else [], **extra})

    yield chunk({"role": "assistant", "content": ""})
    field, text = ("refusal", done.refusal) if done.refusal else ("content", done.content or "")
    size = max(1, math.ceil(len(text) / chunks))
    for start in range(0, len(text), size):
        yield chunk({field: text[start : start + size]})
    yield chunk({}, done.finish_reason)
    if include_usage:
        yield event({**head, "choices": [], "usage": done.usage})
    yield b"data: [DONE]\n\n"


def _head(done: Completion, kind: str) -> dict[str, Any]:
    return {
        "id": done.reply_id,
        "object": kind,
        "created": int(time.time()),
        "model": done.model,
        "system_fingerprint": "sandbox",
    }


def retry_headers(config: SandboxConfig, wait: float | None) -> dict[str, str]:
    """Retry-After in the configured form, never shorter than `wait` seconds."""
    if wait is None or config.retry_after == "none":
        return {}
    if config.retry_after == "ms":
        return {"retry-after-ms": str(math.ceil(wait * 1000))}
    if config.retry_after == "date":
        return {"retry-after": formatdate(math.ceil(time.time() + wait), usegmt=True)}
    return {"retry-after": str(math.ceil(wait))}


def ratelimit_headers(meter: KeyMeter, at: float) -> dict[str, str]:
    """x-ratelimit-* of the first window of each kind; reset says when the next use leaves."""
    found = {}
    for kind, windows in (("requests", meter.requests), ("tokens", meter.tokens)):
        for window in windows[:1]:
            found[f"x-ratelimit-limit-{kind}"] = str(window.window.limit)
            found[f"x-ratelimit-remaining-{kind}"] = str(max(0, window.window.limit - window.used))
            found[f"x-ratelimit-reset-{kind}"] = _span(window.next_free(at))
    return found


def _span(seconds: float) -> str:
    """Go's notation, as OpenAI uses it: 12ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}m{rest:.3g}s" if minutes else f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
