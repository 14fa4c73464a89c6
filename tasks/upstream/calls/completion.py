"""Chat completions as they come over the wire, read without model objects: half the CPU."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tasks.core.calls import Request, Usage
from tasks.core.errors import ReplyError

__all__ = [
    "Completion",
    "ServerError",
    "body_of",
    "check_complete",
    "raise_if_error",
    "read_completion",
    "read_created",
    "read_text",
    "read_usage",
]


_STATUS = re.compile("[45][0-9][0-9]")
_LATEST = 1e11  # seconds since the epoch; what is beyond is milliseconds or nonsense


class ServerError(ReplyError):
    """A 200 whose body is an error. `status` is the one it names, if any; `error` its object."""

    def __init__(self, message: str, *, code: str | None = None, error: Any = None) -> None:
        super().__init__(message, code=code)
        self.error: dict[str, Any] = error if isinstance(error, dict) else {}
        self.status = _status(self.error.get("code"))

    def details(self) -> dict[str, object]:
        """The error object, which is plain JSON."""
        return {"error": self.error}


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


def body_of(request: Request) -> bytes:
    """The request's JSON body."""
    body: dict[str, Any] = {"model": request.model, "messages": request.messages, **request.params}
    if request.stream:
        body["stream"] = True
        body.setdefault("stream_options", {"include_usage": True})
    return orjson.dumps(body)


def read_completion(body: bytes, content_type: str) -> Completion:
    """A whole, non-streamed reply.

    Raises:
        ServerError: the body is an error object.
        ReplyError: code bad_reply, empty_reply, refusal or content_filter.
    """
    record = _json_object(body, content_type)
    raise_if_error(record)
    choice, message = _first_choice(record)
    content = message.get("content")
    completion = Completion(
        content=content if isinstance(content, str) else "",
        model=read_text(record.get("model")),
        finish_reason=read_text(choice.get("finish_reason")),
        usage=read_usage(record.get("usage")),
        request_id=read_text(record.get("id")),
        created=read_created(record.get("created")),
        refusal=read_text(message.get("refusal")),
    )
    check_complete(completion)
    return completion


def raise_if_error(record: Mapping[str, Any]) -> None:
    """Raises ServerError if the object is an error and holds no choices."""
    error = record.get("error")
    if error and not record.get("choices"):
        text = error.get("message") if isinstance(error, dict) else error
        msg = f"status 200 with an error: {text}"
        raise ServerError(msg, error=error)


def check_complete(completion: Completion) -> None:
    """Raises ReplyError if the reply holds nothing to read."""
    if completion.finish_reason == "content_filter":
        msg = "the provider's content filter ended the reply"
        raise ReplyError(msg, code="content_filter", usage=completion.usage)
    if completion.content.strip():
        return
    if completion.refusal:
        msg = f"the model refused: {completion.refusal}"
        raise ReplyError(msg, code="refusal", usage=completion.usage)
    msg = f"the reply is empty (finish_reason {completion.finish_reason})"
    raise ReplyError(msg, code="empty_reply", usage=completion.usage)


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
    )


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
        raise ReplyError(msg) from None
    if not isinstance(record, dict):
        msg = f"the reply is JSON, but a {type(record).__name__} and not an object"
        raise ReplyError(msg)
    return record


def _first_choice(record: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    choices = record.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        msg = "the reply has no choices with a message"
        raise ReplyError(msg, usage=read_usage(record.get("usage")))
    return choice, message


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _status(code: Any) -> int | None:
    number = int(code) if isinstance(code, int) or _STATUS.fullmatch(str(code)) else 0
    return number if 400 <= number < 600 else None  # noqa: PLR2004  (the range of HTTP errors)
