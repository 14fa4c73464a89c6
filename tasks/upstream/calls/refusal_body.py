"""
What the body of a refusal says, whatever its shape: objects, lists, strings, JSON in a string, pages.

Texts, codes and the named parameter are taken from known fields only, never from fields that echo
the request (`input`, `failed_generation`): code under review must not be able to disable a key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tasks.upstream.waits import wait_in_field

__all__ = ["SENTENCE_CHARS", "Said", "read_body"]

SENTENCE_CHARS = 500
_TEXT_CHARS = 2000  # of one text; what follows is an echo of the request or a stack
_MOST = 64  # objects, lists and texts looked at
_DEEPEST = 8

_TEXTS = frozenset(
    {
        *("message", "msg", "detail", "details", "error", "errors", "error_description", "title"),
        *("error_message", "errormessage", "errormsg", "error_msg", "reason", "raw", "description"),
        *("faultstring", "fault", "cause", "innererror", "metadata", "errorinfo", "body", "data"),
        *("fieldviolations", "violations", "response", "status_message", "upstream_error"),
    }
)
_CODES = frozenset(
    {"code", "type", "status", "reason", "error_code", "error_type", "errorcode", "errortype"}
) | {"__type", "statuscode", "status_code"}
_PARAMETERS = frozenset({"param", "parameter", "loc", "field", "params"})
_GENERIC = frozenset(
    {"error", "none", "null", "unknown_error", "api_error", "invalid_request_error", "validation"}
) | {"badrequesterror", "notfounderror", "tokens", "requests", "about:blank"}
_CODE_FIELDS = frozenset({"code", "error_code", "errorcode"})  # say more than a type
_STATUS = re.compile("[45][0-9][0-9]")
_PAGE = re.compile(r"\s*(?:<!doctype\s+html|<html|<head|<body)", re.IGNORECASE)
_TITLE = re.compile(r"<(?:title|h1)[^>]*>([^<]{1,300})", re.IGNORECASE)
_TAG = re.compile(r"<(script|style)\b.*?(?:</\1>|$)|<[^>]*>", re.IGNORECASE | re.DOTALL)
_QUOTES = str.maketrans(dict.fromkeys('"`\u00b4\u2018\u2019\u201c\u201d', "'"))

_NAME = r"(?<![a-z_0-9])'?([a-z][a-z_0-9]{0,60}(?:[.\[][\w.\]\[]{1,80})?)'?"
_NAMED = re.compile(
    "|".join(
        (
            rf"(?:unsupported|unknown|unrecognized|invalid|unexpected|extra) (?:parameter|value|param|argument|field)s?:? {_NAME}",
            rf"unrecognized request arguments? supplied: {_NAME}",  # OpenAI
            rf"unknown name {_NAME}",  # Gemini's protobuf
            rf"unexpected keyword argument {_NAME}",
            rf"property {_NAME} is unsupported",  # Groq
            rf"{_NAME}: (?:extra inputs are not permitted|extra_forbidden|\d+ > \d+)",  # Anthropic
            rf"parameters?[.: ]{{1,2}}'?{_NAME}'? (?:must|is|should|does|only)",  # DashScope
            rf"(?:not|n't) support (?:the )?(?:parameters?|params?):? [\[{{(]?{_NAME}",  # LiteLLM
            rf"(?:not|n't) support (?:the )?{_NAME}=",  # LiteLLM, of a value
            rf"invalid {_NAME} value|{_NAME} is too large",  # DeepSeek, OpenAI
            r"'([a-z][a-z_0-9]{0,60})' (?:is|are) (?:not supported|deprecated|unsupported|not allowed)",
        )
    )
)
_KNOWN = (
    *("max_completion_tokens", "max_tokens", "temperature", "top_p", "top_k", "stream_options"),
    *("reasoning_effort", "enable_thinking", "presence_penalty", "frequency_penalty", "seed"),
    *("service_tier", "logit_bias", "top_logprobs", "logprobs", "parallel_tool_calls", "verbosity"),
    *("chat_template_kwargs", "prompt_cache_key", "min_p"),
)
_KNOWN_NAMED = re.compile(
    rf"\b({'|'.join(_KNOWN)})\b.{{0,60}}(?:cannot \w* ?be|not (?:be )?(?:supported|allowed|permitted|specified|valid)"
    rf"|unsupported|must be|deprecated|invalid|only)|(?:not|n't) support \W?({'|'.join(_KNOWN)})\b"
)
_ROLE_REFUSED = re.compile(
    r"system (?:role|message|prompt|instruction)s?\b.{0,30}not (?:be )?(?:supported|enabled|allowed)"
    r"|developer instruction is not enabled|not support (?:the )?'?system'?(?: role| message|\b)"
    r"|conversation roles must alternate"
)
_THINKING_REFUSED = re.compile(r"does not support thinking")  # Ollama, of reasoning_effort
_DAY, _RESET = 86_400.0, 8 * 3600.0  # Gemini's days end at midnight in California, in winter
_CONTENT = frozenset(
    {"messages", "prompt", "input", "inputs", "content", "contents", "body", "query", "header"}
)


@dataclass(slots=True)
class Said:
    """All that a body says, gathered."""

    texts: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    """In lower case, the outermost first."""
    code: str | None = None
    """The first that says something, as written."""
    waits: list[float] = field(default_factory=list)
    """Seconds, from fields that say a wait."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of the server behind, as a gateway repeats them."""
    status: int | None = None
    """The HTTP error that the body names."""
    page: bool = False
    """An HTML page."""
    parameter: str | None = None
    """The parameter that is named, by its top-level name in the request."""
    text: str = ""
    """All texts in lower case, every quotation mark a `'`."""
    sentence: str = ""
    of_model: bool = False
    """A quota that each model has of its own is named."""
    params: list[str] = field(default_factory=list)
    seen: int = 0
    has_code: bool = False
    """`code` comes from a field of that name."""


def read_body(body: Any, now: float) -> Said:
    """Everything that a refusal's body says; never raises. `now` is in seconds since the epoch."""
    said = Said()
    if isinstance(body, bytes | bytearray | memoryview):
        body = bytes(body[: 2**20]).decode("utf-8", "replace")
    _walk(body, said, now, 0)
    said.text = " | ".join(said.texts).lower().translate(_QUOTES)
    said.sentence = _one_line(": ".join(dict.fromkeys(said.texts[:2]))) or _one_line(
        said.code or ""
    )
    said.parameter = _parameter(said)
    return said


def _walk(value: Any, said: Said, now: float, depth: int) -> None:
    said.seen += 1
    if said.seen > _MOST or depth > _DEEPEST:
        return
    if isinstance(value, str):
        _walk_text(value, said, now, depth)
    elif isinstance(value, Mapping):
        for name, inner in list(value.items())[:_MOST]:
            _walk_field(str(name).lower(), inner, said, now, depth)
    elif isinstance(value, list | tuple):
        for inner in value[:8]:
            _walk(inner, said, now, depth + 1)


def _walk_field(name: str, value: Any, said: Said, now: float, depth: int) -> None:
    wait = wait_in_field(name, value, now)
    if wait is not None:
        said.waits.append(wait)
    if name == "quotaid":
        _add_quota(str(value)[:200].lower(), said, now)
    if name in _CODES:
        _add_code(name, value, said)
    if name in _PARAMETERS:
        _add_parameter(value, said)
    elif name == "headers" and isinstance(value, Mapping):
        said.headers.update({str(k): str(v)[:200] for k, v in list(value.items())[:_MOST]})
        for header, text in list(said.headers.items())[:_MOST]:
            if (after := wait_in_field(header, text, now)) is not None:
                said.waits.append(after)
    elif name in _TEXTS:
        _walk(value, said, now, depth + 1)


def _add_quota(name: str, said: Said, now: float) -> None:
    """Gemini's names, as GenerateRequestsPerDayPerProjectPerModel-FreeTier."""
    said.of_model = said.of_model or "permodel" in name
    if "perday" in name:
        # It says "retry in 34 s" beside it, which is the minute's.
        said.waits.append(_DAY - (now - _RESET) % _DAY)


def _walk_text(text: str, said: Said, now: float, depth: int) -> None:
    text = text.strip()
    if _PAGE.match(text[:500]) and depth == 0:
        said.page = True
        titles = [_one_line(title) for title in _TITLE.findall(text[:20_000])[:2]]
        said.texts.extend(
            [title for title in titles if title] or [_TAG.sub(" ", text[:_TEXT_CHARS])[:300]]
        )
        return
    nested = _nested(text.removeprefix("data:").lstrip() if depth == 0 else text)
    if nested is not None:
        _walk(nested, said, now, depth + 1)
        return
    if text and (short := text[:_TEXT_CHARS]) not in said.texts:
        said.texts.append(short)
    if text and depth and " " not in text[:100]:
        said.codes.append(text[:100].lower())  # {"error": "invalid_token"}


def _nested(text: str) -> Any:
    """JSON that is the text, or an error object that ends it ("Error code: 400 - {...}")."""
    if text[:1] in {"{", "["}:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
    start = text.find('{"error"')
    if start < 0 or start > _TEXT_CHARS:
        return None
    try:
        found = json.JSONDecoder().raw_decode(text[start:])[0]
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _add_code(name: str, value: Any, said: Said) -> None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return
    text = str(value)[:100] if isinstance(value, str) or abs(value) < 10**9 else ""
    if said.status is None and _STATUS.fullmatch(text):
        said.status = int(text)
    said.codes.append(text.lower())
    if text.isdecimal() or text.lower() in _GENERIC or not text.strip():
        return
    if said.code is None or (name in _CODE_FIELDS and not said.has_code):
        said.code, said.has_code = _one_line(text) or None, name in _CODE_FIELDS


def _add_parameter(value: Any, said: Said) -> None:
    if isinstance(value, list | tuple):  # FastAPI's loc: ["body", "stream_options"]
        value = ".".join(str(part)[:100] for part in value[:6])
    if isinstance(value, str) and value:
        said.params.append(value[:200].lower())


def _parameter(said: Said) -> str | None:
    names = [_normal(name) for name in said.params]
    text = said.text[: 2 * _TEXT_CHARS]
    if _ROLE_REFUSED.search(text):
        names.append("messages.role")
    if _THINKING_REFUSED.search(text):
        names.append("reasoning_effort")
    for pattern in (_NAMED, _KNOWN_NAMED):
        names.extend(_normal(found[found.lastindex or 0]) for found in pattern.finditer(text))
    return next((name for name in names if name), None)


def _normal(name: str) -> str | None:
    """The top-level name in the request; None for what is no parameter."""
    name = name.translate(_QUOTES).strip("' ").removeprefix("body.").replace("[", ".").rstrip("].")
    name = name.replace("].", ".").removeprefix("generation_config.").removeprefix("parameters.")
    if re.fullmatch(r"messages\.\d+\.role", name):
        return "messages.role"
    top = name.partition(".")[0]
    if re.match(r"response_(?:format|schema|json_schema)|json_schema|guided_json", top):
        return "response_format"
    return top if re.fullmatch(r"[a-z][a-z0-9_]{1,63}", top) and top not in _CONTENT else None


def _one_line(text: str) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text[: 4 * SENTENCE_CHARS])
    return " ".join(clean.split())[:SENTENCE_CHARS]
