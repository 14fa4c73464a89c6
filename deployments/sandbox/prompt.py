"""Reading a prompt without a model: its code, its paths, its comments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

__all__ = ["Prompt", "PromptLine"]

_LINE = re.compile(
    r"^[ \t]*(?P<sign>[+-])?[ \t]*(?P<number>\d{1,7})[ \t]*\|[ \t]?(?P<text>.*)$"
    r"|^\+\+\+ (?:b/)?(?P<new>\S+)"
    r"|^\{.{0,300}?\"path\":\s?\"(?P<listed>[^\"]+)"
    r"|^\W{0,4}(?:path|file)\"?\s*[:=]\s*[\"'`]?(?P<named>[^\s\"'`,]+)",
    re.MULTILINE | re.IGNORECASE,
)
_MARGIN = re.compile(r"^[+-]?[ \t]*(?:\d{1,7}[ \t]*\|)?[\s*/#;-]*", re.MULTILINE)
_ORDER = re.compile(
    r"\b(?:do not|don't|never) (?:report|comment)|\b(?:report|find) (?:nothing|no issues)"
    r"|\b(?:answer|reply|respond) with (?:an empty |\{\s*\"comments\":\s*\[\])",
    re.IGNORECASE,
)
"""What a reviewer is told who is to find nothing; the project's own words are none of these."""
_COMMENT_ID = re.compile(r"comment_id[\"'`]?\s*[:=]\s*[\"'`]?([A-Za-z0-9][\w.:-]*)")
_SCHEMAS = {"review_comments": "check", "review_verdicts": "review"}
_KINDS = {"comments": "check", "verdicts": "review"}
_TOO_SHORT = 3  # a brace or "end" is no finding
_PLACEHOLDERS = {"string", "str", "id", "the"}


@dataclass(frozen=True, slots=True)
class PromptLine:
    """One line of the code under review."""

    text: str
    number: int
    path: str | None


class Prompt:
    """The messages of a request, as a reviewer would read them."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body

    @cached_property
    def user(self) -> str:
        """All user messages as one text."""
        return "\n".join(_texts(self.body, "user"))

    @cached_property
    def text(self) -> str:
        """All messages as one text."""
        return "\n".join(_texts(self.body, None))

    @cached_property
    def tokens(self) -> int:
        """Length / 4, rounded up: deterministic, and close enough to rehearse with."""
        return -(-len(self.text) // 4)

    @property
    def roles(self) -> list[str]:
        """Who speaks, message by message."""
        messages = self.body.get("messages")
        return [str(_dig(m, "role")) for m in (messages if isinstance(messages, list) else ())]

    def last(self, tokens: int) -> Prompt:
        """The prompt as a server reads it that drops its beginning to make it fit."""
        messages = [{"role": "user", "content": self.text[-tokens * 4 :]}]
        return Prompt({**self.body, "messages": messages})

    @property
    def response_format(self) -> str:
        """One of "text", "json_object", "json_schema"."""
        return str(_dig(self.body, "response_format", "type") or "text")

    @property
    def max_tokens(self) -> int:
        """What the reply may take; 0 when not said."""
        asked = self.body.get("max_tokens") or self.body.get("max_completion_tokens")
        return asked if isinstance(asked, int) else 0

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool(_dig(self.body, "stream_options", "include_usage"))

    @property
    def tier(self) -> str:
        """How it is served and paid: "online" or "flex"."""
        return "flex" if self.body.get("service_tier") == "flex" else "online"

    @cached_property
    def kind(self) -> str:
        """One of "check", "review", "chat": by the schema's name, else by the text."""
        schema = _dig(self.body, "response_format", "json_schema", "name")
        if schema in _SCHEMAS:
            return _SCHEMAS[schema]
        asked = [(self.text.rfind(f'"{word}"'), kind) for word, kind in _KINDS.items()]
        if max(asked)[0] >= 0:
            return max(asked)[1]
        return "review" if self.comments else "check" if self.spots else "chat"

    @cached_property
    def is_told_to_be_silent(self) -> bool:
        """Whether the user messages hold an order to find nothing, be it code under review or not."""
        return bool(_ORDER.search(" ".join(_MARGIN.sub("", self.user).split())))

    @cached_property
    def spots(self) -> list[tuple[re.Match[str], str | None]]:
        """Where the code worth a comment is, with its path: added lines of a diff, else all."""
        # Matches and not records: a prompt has hundreds of lines, and at most three are quoted.
        found, path = [], None
        for match in _LINE.finditer(self.user):
            if match["number"] is None:
                path = match["new"] or match["listed"] or match["named"]
            elif len(match["text"]) > _TOO_SHORT and match["sign"] != "-":
                found.append((match, path))
        return [spot for spot in found if spot[0]["sign"]] or found

    def line(self, index: int) -> PromptLine:
        """The code at a spot."""
        match, path = self.spots[index % len(self.spots)]
        return PromptLine(match["text"].rstrip("\r"), int(match["number"]), path)

    @cached_property
    def comments(self) -> dict[str, str]:
        """The comments to judge: name (c1, c2, ...) -> the text behind it, up to the next one."""
        # Reviewed code may itself speak of comment ids: what follows the last fence counts.
        text = self.user.rpartition("<<<COMMENTS ")[2]
        marks = [m for m in _COMMENT_ID.finditer(text) if m[1] not in _PLACEHOLDERS]
        edges = [mark.start() for mark in marks] + [len(text)]
        found: dict[str, str] = {}
        for mark, (start, end) in zip(marks, pairwise(edges), strict=True):
            found[mark[1]] = found.get(mark[1], "") + text[start:end]
        return found


def _texts(body: dict[str, Any], role: str | None) -> list[str]:
    found: list[str] = []
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = _dig(message, "content")
        if role is not None and _dig(message, "role") != role:
            continue
        parts = content if isinstance(content, list) else [{"text": content}]
        found += [
            p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str)
        ]
    return found


def _dig(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
