"""Chat completions as they come over the wire, read without model objects: half the CPU."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tasks.core.calls import MAX_COUNT, Request, Usage
from tasks.core.errors import ReplyError

__all__ = [
    "THOUGHTS",
    "Completion",
    "ServerError",
    "body_of",
    "check_complete",
    "completion_of",
    "first_choice",
    "join_text",
    "raise_if_error",
    "read_completion",
    "read_created",
    "read_text",
    "read_usage",
    "thought_answer",
]


THOUGHTS = ("reasoning_content", "reasoning")
_TEXT_PARTS = frozenset({"text", "output_text", None})
_CUT = frozenset({"length", "max_tokens", "MAX_TOKENS"})
_FILTERED = frozenset({"content_filter", "SAFETY", "RECITATION", "sensitive"})
_GOOD_ENDS = frozenset(
    {"stop", "length", "max_tokens", "tool_calls", "function_call", "end_turn", "stop_sequence"}
) | {"eos", "eos_token", "null", ""}
_PAGE = re.compile(rb"\s*<(?:!doctype|html|head|body)", re.IGNORECASE)
_PAGE_BYTES = 500
_LATEST = 1e11  # seconds since the epoch; what is beyond is milliseconds or nonsense


class ServerError(ReplyError):
    """A 200 whose body is an error, or a page; `body` is all of it."""

    def __init__(self, message: str, *, code: str | None = None, body: Any = None) -> None:
        super().__init__(message, code=code)
        self.body = body

    def details(self) -> dict[str, object]:
        """Nothing: the body does not cross process borders."""
        return {}


@dataclass(frozen=True, slots=True)
class Completion:
    """What a reply says, before it is known what it cost."""

    content: str
    model: str | None
    finish_reason: str | None
    usage: Usage
    request_id: str | None
    created: float
    refusal: str | None = None
    first_token: float | None = None
    """When the first chunk with text came, on the monotonic clock; streaming only."""
    tier: str | None = None
    """The service_tier that it was charged by, as the provider says."""


def body_of(request: Request) -> dict[str, Any]:
    """The request's JSON body; a parameter that is None is left out, also where we would add it."""
    body: dict[str, Any] = {"model": request.model, "messages": request.messages, **request.params}
    if request.stream:
        body["stream"] = True
        body.setdefault("stream_options", {"include_usage": True})
    return {name: value for name, value in body.items() if value is not None}


def read_completion(body: bytes, content_type: str) -> Completion:
    """A whole, non-streamed reply.

    Raises:
        ServerError: the body is an error object.
        ReplyError: code bad_reply, empty_reply, refusal or content_filter.
    """
    return completion_of(_json_object(body, content_type))


def completion_of(record: Mapping[str, Any]) -> Completion:
    """A completion that is parsed already.

    Raises:
        ServerError: it is an error object.
        ReplyError: code bad_reply, empty_reply, refusal or content_filter.
    """
    raise_if_error(record)
    choice, message = _first_choice(record)
    raise_if_error(choice)
    finish = read_text(choice.get("finish_reason"))
    completion = Completion(
        content=join_text(message.get("content")) or thought_answer(message, finish),
        model=read_text(record.get("model")),
        finish_reason=finish,
        usage=read_usage(record.get("usage")),
        request_id=read_text(record.get("id")),
        created=read_created(record.get("created")),
        refusal=read_text(message.get("refusal")),
        tier=read_text(record.get("service_tier")),
    )
    check_complete(completion)
    return completion


def raise_if_error(record: Mapping[str, Any]) -> None:
    """Raises ServerError if the object is an error, or holds one beside half a reply."""
    error = record.get("error") or (record if record.get("object") == "error" else None)
    if error:
        text = error.get("message") if isinstance(error, dict) else error
        msg = f"status 200 with an error: {text}"
        raise ServerError(msg, body=dict(record) | {"choices": None})


def check_complete(completion: Completion) -> None:
    """Raises ReplyError if the provider broke the reply off, or it holds nothing to read."""
    reason = completion.finish_reason
    if reason in _FILTERED:
        msg = "the provider's content filter ended the reply"
        raise ReplyError(msg, code="content_filter", usage=completion.usage)
    if reason is not None and reason.lower() not in _GOOD_ENDS:
        msg = f"the provider broke the reply off (finish_reason {reason})"
        raise ReplyError(msg, code="stream_cut", usage=completion.usage)
    if completion.content.strip():
        return
    if completion.refusal:
        msg = f"the model refused: {completion.refusal}"
        raise ReplyError(msg, code="refusal", usage=completion.usage)
    if reason in _CUT:
        spent = completion.usage.completion_tokens
        tokens = "all tokens" if spent is None else f"all {spent:,} tokens"
        msg = f"{tokens} went into reasoning: raise max_tokens, or lower the reasoning effort"
        raise ReplyError(msg, code="truncated", usage=completion.usage)
    msg = f"the reply is empty (finish_reason {reason})"
    raise ReplyError(msg, code="empty_reply", usage=completion.usage)


def join_text(content: Any) -> str:
    """The text of a content that is one, or a list of parts; thoughts among them are left out."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = (
        part.get("text") if isinstance(part, dict) and part.get("type") in _TEXT_PARTS else part
        for part in parts
    )
    return "".join(text for text in texts if isinstance(text, str))


def thought_answer(message: Mapping[str, Any], finish: str | None) -> str:
    """The answer among the thoughts, where a server's parser kept all for them; else nothing."""
    texts = (message.get(name) for name in THOUGHTS)
    found = next((text for text in texts if isinstance(text, str) and "{" in text), "")
    return "" if finish in _CUT else found


def read_usage(value: Any) -> Usage:
    """Tokens as the server counted them; what is missing or odd is None."""
    if not isinstance(value, dict):
        return Usage()
    cached = _detail(value, "prompt_tokens_details", "cached_tokens")
    return Usage(
        prompt_tokens=_count(value.get("prompt_tokens")),
        completion_tokens=_count(value.get("completion_tokens")),
        total_tokens=_count(value.get("total_tokens")),
        # DeepSeek tells it beside the counts, and not in their details.
        cached_tokens=_count(value.get("prompt_cache_hit_tokens") if cached is None else cached),
        reasoning_tokens=_count(_detail(value, "completion_tokens_details", "reasoning_tokens")),
        cache_write_tokens=_count(_cache_write(value)),
    )


def _cache_write(value: Mapping[str, Any]) -> Any:
    """What OpenAI and OpenRouter call it, then LiteLLM, then Anthropic, whose name gateways pass on."""
    details = ("cache_write_tokens", "cache_creation_tokens")
    named = (_detail(value, "prompt_tokens_details", name) for name in details)
    found = next((one for one in named if one is not None), None)
    return value.get("cache_creation_input_tokens") if found is None else found


def _detail(value: Mapping[str, Any], group: str, name: str) -> Any:
    details = value.get(group)
    return details.get(name) if isinstance(details, dict) else None


def read_created(value: Any) -> float:
    """The server's time of the reply, or ours where it has none or an impossible one."""
    known = isinstance(value, int | float) and 0 < value < _LATEST
    return float(value) if known else time.time()


def read_text(value: Any) -> str | None:
    """A text that says something, or None."""
    return value if isinstance(value, str) and value else None


def _json_object(body: bytes, content_type: str) -> dict[str, Any]:
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        kind = content_type.partition(";")[0] or "no content type"
        msg = f"the reply is not JSON ({kind}, {len(body)} bytes): {error}"
        if _PAGE.match(body[:_PAGE_BYTES]):
            raise ServerError(msg, body=body) from None
        raise ReplyError(msg) from None
    if not isinstance(record, dict):
        msg = f"the reply is JSON, but a {type(record).__name__} and not an object"
        raise ReplyError(msg)
    return record


def _first_choice(record: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    choices = record.get("choices")
    choice = first_choice(choices)
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        msg = "the reply has no choices with a message: see that base_url is that of an API as OpenAI's"
        raise ReplyError(msg, usage=read_usage(record.get("usage")))
    return choice, message


def first_choice(choices: Any) -> Any:
    """The choice with index 0; others are answers that nobody asked for."""
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict) or choice.get("index", 0) in (0, None):
            return choice
    return None


def _count(value: Any) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
    return value if known else None
