"""Bodies as an OpenAI-compatible endpoint writes them: completions, chunks, errors."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Literal

import orjson

__all__ = [
    "SandboxRefusal",
    "SandboxReply",
    "Style",
    "completion_body",
    "completion_head",
    "event",
    "openai_error",
    "reply_events",
    "retry_headers",
]

_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class SandboxReply:
    """A reply before it is written as one body or as a stream."""

    reply_id: str
    model: str
    content: str | None
    prompt_tokens: int
    finish_reason: str = "stop"
    refusal: str | None = None
    choices: bool = True
    cached_tokens: int | None = None
    reasoning: str | None = None
    """What the model thought, where the provider shows it."""
    reasoning_tokens: int | None = None
    parts: bool = False
    """Content is a list of parts, thinking among them."""
    error: Any = None
    """An error object beside the choice: the provider broke off."""
    tier: str | None = None
    """The service_tier that was asked for."""

    @property
    def completion_tokens(self) -> int:
        """Length / 4, rounded up, and what was thought."""
        said = -(-len(self.content or self.refusal or "") // 4)
        return said + (self.reasoning_tokens or 0)

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
        if self.reasoning_tokens is not None:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.reasoning_tokens}
        return usage


@dataclass(frozen=True, slots=True)
class Style:
    """How one provider writes a good reply, as far as it differs from OpenAI."""

    reasoning_field: str | None = None
    """Where in a message or delta the thoughts are; None: they are not shown."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """Members of the body and of each chunk that OpenAI does not send."""
    choice: Mapping[str, Any] = field(default_factory=dict)
    """The same of each choice."""
    opening: Mapping[str, Any] | None = None
    """Members of a stream's first chunk, which then has no choices."""
    finish_reasons: Mapping[str, str] = field(default_factory=dict)
    """Names of the good ends: OpenAI's -> this provider's."""
    usage: Literal["asked", "last", "beside"] = "asked"
    """In a stream: when asked for; always, in a chunk of its own; always, beside the last choice."""
    blank: bytes = b""
    """Bytes before a body, which say that the server still lives."""
    comment: bytes = b""
    """The same before a stream's first event."""


@dataclass(frozen=True, slots=True)
class SandboxRefusal:
    """An answer that is an error."""

    status: int
    code: str | int | None
    message: str
    kind: str | None = "invalid_request_error"
    param: str | None = None
    wait: float | None = None
    """Seconds for Retry-After."""
    about: str = ""
    """What it is about, by which a profile finds its own wording; empty: it has none."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What a wording may name: model, wait, limit, seconds, tokens, value."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further members of the error object."""
    headers: Mapping[str, str] = field(default_factory=dict)


def openai_error(refusal: SandboxRefusal) -> Any:
    """The error as OpenAI writes it."""
    error = {
        "message": refusal.message,
        "type": refusal.kind,
        "param": refusal.param,
        "code": refusal.code,
    }
    return {"error": error | dict(refusal.more)}


def completion_body(done: SandboxReply, style: Style) -> bytes:
    """A whole chat.completion."""
    message = {"role": "assistant", **_said(done, style), "refusal": done.refusal}
    end = style.finish_reasons.get(done.finish_reason, done.finish_reason)
    choice = {"index": 0, "message": message, "finish_reason": end, "logprobs": None}
    record = {
        **completion_head(done, "chat.completion"),
        "choices": [choice | dict(style.choice) | _broken(done)] if done.choices else [],
        "usage": done.usage,
    }
    return style.blank + orjson.dumps(record | dict(style.body))


def _said(done: SandboxReply, style: Style) -> dict[str, Any]:
    said: dict[str, Any] = {"content": _parts(done) if done.parts else done.content}
    if style.reasoning_field and done.reasoning is not None:
        said[style.reasoning_field] = done.reasoning
    return said


def _parts(done: SandboxReply) -> list[dict[str, Any]]:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": done.reasoning or ""}]}
    return [thinking, {"type": "text", "text": done.content or ""}]


def _broken(done: SandboxReply) -> dict[str, Any]:
    return {} if done.error is None else {"error": done.error}


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def reply_events(
    done: SandboxReply, chunks: int, style: Style, *, include_usage: bool
) -> Iterator[bytes]:
    """A stream of chat.completion.chunk: the role, `chunks` of content, the end, usage, [DONE]."""
    head = completion_head(done, "chat.completion.chunk") | dict(style.body)
    extra = {"usage": None} if include_usage and style.usage == "asked" else {}
    lead = style.comment
    if style.opening is not None:
        yield lead + event({**head, "choices": [], **style.opening, **extra})
        lead = b""

    def chunk(delta: Mapping[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, **style.choice}
        return event({**head, "choices": [choice] if done.choices else [], **extra, **more})

    yield lead + chunk({"role": "assistant", "content": ""})
    for delta in _deltas(done, chunks, style):
        yield chunk(delta)
    beside = {"usage": done.usage} if style.usage == "beside" else {}
    end = style.finish_reasons.get(done.finish_reason, done.finish_reason)
    yield chunk({}, end, **beside, **_broken(done))
    if style.usage == "last" or (include_usage and style.usage == "asked"):
        yield event({**head, "choices": [], "usage": done.usage})
    yield _DONE


def _deltas(done: SandboxReply, chunks: int, style: Style) -> Iterator[dict[str, Any]]:
    if done.parts:
        thinking, _ = _parts(done)
        yield {"content": [thinking]}
    elif style.reasoning_field and done.reasoning is not None:
        yield {style.reasoning_field: done.reasoning, "content": None}
    name, text = ("refusal", done.refusal) if done.refusal else ("content", done.content or "")
    size = max(1, math.ceil(len(text) / chunks))
    for start in range(0, len(text), size):
        yield {name: text[start : start + size]}


def completion_head(done: SandboxReply, kind: str) -> dict[str, Any]:
    """The members that a completion and its chunks begin with."""
    head = {
        "id": done.reply_id,
        "object": kind,
        "created": int(time.time()),
        "model": done.model,
        "system_fingerprint": "sandbox",
    }
    return head if done.tier is None else head | {"service_tier": done.tier}


def retry_headers(forms: tuple[str, ...], wait: float | None) -> dict[str, str]:
    """Retry-After in each of these forms, never shorter than `wait` seconds."""
    if wait is None:
        return {}
    values = {
        "ms": ("retry-after-ms", str(math.ceil(wait * 1000))),
        "date": ("retry-after", formatdate(math.ceil(time.time() + wait), usegmt=True)),
        "seconds": ("retry-after", str(math.ceil(wait))),
    }
    return dict(values[form] for form in forms if form in values)
