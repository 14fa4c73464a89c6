"""A call to a model and what comes back, as plain records. Nothing here knows about code review."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import orjson

__all__ = ["MAX_COUNT", "Refused", "Reply", "Request", "TokenCount", "Usage", "Via"]

Via = Literal["online", "batch", "flex"]
"""The way a question took to its answer, which is what it is charged by."""

MAX_COUNT = 2**31 - 1
"""The largest number of tokens of one reply that is believed; sums of many still fit into 64 bits."""


class TokenCount(NamedTuple):
    """Our own count of a prompt's tokens; `exact` is False when the encoding is a stand-in."""

    tokens: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one model."""

    model: str
    messages: tuple[dict[str, str], ...]
    """Chat messages in order: `{"role": ..., "content": ...}`."""
    params: dict[str, Any] = field(default_factory=dict)
    """What else goes into the body: temperature, max_tokens, response_format."""
    prompt_version: str = ""
    """Content hash of the prompt files that made the messages."""
    stream: bool = False
    """How the reply travels; not part of the question, so not part of `key`."""
    prompt_tokens: int = 0
    """Our count of the messages' tokens; with `expected_tokens`, what a token quota reserves."""
    expected_tokens: int = 0
    """Tokens of a usual reply."""
    cell: str = ""
    """What it is asked for, within a run: the reply remembers it. Not part of `key`."""
    flex_patience: float | None = None
    """Seconds for which the flex tier is tried; None: it is not. Not part of `key`."""
    _key: str | None = field(default=None, init=False, repr=False, compare=False)
    _opened: Any = field(default=None, init=False, repr=False, compare=False)
    """The hash of model and messages. Both once they have been asked for."""

    @property
    def key(self) -> str:
        """The question, whoever answers it: sha256 over model, messages, parameters and prompt version.

        As it was asked, and not as an endpoint that refuses a part of it wants it sent.
        """
        known = self._key
        if known is None:
            known = self.key_with(self.params)
            object.__setattr__(self, "_key", known)
        return known

    def key_with(self, params: dict[str, Any]) -> str:
        """The key of the same messages with other parameters; the messages are hashed once for all."""
        digest = self._opening().copy()
        rest = f"{_params_text(params)},{_name_text(self.prompt_version)}]"
        digest.update(rest.encode("utf-8", "surrogatepass"))
        return str(digest.hexdigest())

    def _opening(self) -> Any:
        found = self._opened
        if found is None:
            texts = [_message_text(one) for one in self.messages]
            found = _begun(self.model, texts[0] if texts else b"").copy()
            found.update(b"".join([b",%b" % one for one in texts[1:]]) + b"],")
            object.__setattr__(self, "_opened", found)
        return found


@lru_cache(maxsize=64)
def _begun(model: str, first: bytes) -> Any:
    """The hash of what questions begin with: the rules of a stage are the same for all inputs."""
    return hashlib.sha256(b"[%b,[%b" % (_name_text(model).encode("utf-8", "surrogatepass"), first))


def _message_text(message: dict[str, str]) -> bytes:
    """A message as it is hashed; of strings both encoders make the same, and one is ten times as fast."""
    try:
        return orjson.dumps(message, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # half of a surrogate pair
        return _json(message).encode("utf-8", "surrogatepass")


_json = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
_name_text = lru_cache(maxsize=64)(_json)
"""A text of which a run has few, encoded once."""

_TEXTS: dict[bytes, str] = {}
_MOST_TEXTS = 256


def _params_text(params: dict[str, Any]) -> str:
    """Parameters as they are hashed; a schema takes long to encode, and all questions share it."""
    try:
        name = orjson.dumps(params, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return _json(params)
    if b"null" in name.replace(b'"null"', b""):  # which may have been NaN, and no type of a schema
        return _json(params)
    text = _TEXTS.get(name)
    if text is None:
        text = _json(params)
        if len(_TEXTS) >= _MOST_TEXTS:
            _TEXTS.clear()
        _TEXTS[name] = text
    return text


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the upstream counted them; None means it did not say, which is not 0."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    """Of the prompt, from the provider's cache."""
    reasoning_tokens: int | None = None
    """Of the completion, thought and not shown."""
    cache_write_tokens: int | None = None
    """Of the prompt, put into the provider's cache, which some of them charge for."""

    def plus(self, other: Usage | None) -> Usage:
        """The sum of two usages; what only one of them knows counts alone."""
        if other is None:
            return self
        pairs = zip(_values(self), _values(other), strict=True)
        return Usage(*(a if b is None else b if a is None else a + b for a, b in pairs))


def _values(usage: Usage) -> tuple[int | None, ...]:
    return tuple(getattr(usage, item.name) for item in fields(usage))


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. Times in seconds."""

    content: str
    model: str
    finish_reason: str | None
    usage: Usage
    request_id: str | None
    """The upstream's own id of the reply."""
    created: float
    """When the upstream made it, seconds since the epoch."""
    app_id: str
    """Alias of the app_id that paid for it."""
    trace_id: str
    """Unique id of the attempt, sent as M-TraceId."""
    endpoint: str
    """The base_url it came from."""
    latency: float
    """From the request's first byte to the reply's last."""
    queue: float
    """Waiting for quota, over all attempts; not part of latency."""
    first_token: float | None = None
    """From the request's first byte to the first chunk; streaming only."""
    attempts: int = 1
    refusal: str | None = None
    started: float | None = None
    """When the request's first byte was written, seconds since the epoch by our clock."""
    sent_model: str | None = None
    """The model's name at the endpoint, where that is another one than ours."""
    paid_for: str = ""
    """Run and cell that it was bought for; see Request.cell."""
    via: Via = "online"
    batch_id: str | None = None
    """The provider's batch that it came with."""
    journaled: bool = False
    """True when it was not bought for this run and cell: the journal had the answer."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A question of a run that a batch's row has refused for good."""

    code: str
    message: str
    """Scrubbed."""
    app_id: str
    endpoint: str
    batch_id: str
