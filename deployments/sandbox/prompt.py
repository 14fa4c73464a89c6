"""Reading a prompt without a model: its code, its paths, its comment ids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

__all__ = ["CodeLine", "Prompt"]

_GUTTER = re.compile(r"^\s{0,8}([+\- ]?)\s{0,8}(\d{1,7})?\s{0,4}([+\- ]?)\s?\|\s?(.*)$")
_PATH = re.compile(r"^\W{0,4}(?:path|file)\"?\s*[:=]\s*[\"'`]?([^\s\"'`,]+)", re.IGNORECASE)
_DIFF_PATH = re.compile(r"^\+\+\+ (?:b/)?(\S+)")
_COMMENT_ID = re.compile(r"[\"'`]?comment_id[\"'`]?\s*[:=]\s*[\"'`]?([A-Za-z0-9][\w.:-]*)")
_TOO_SHORT = 3  # a brace or "end" is no finding
_PLACEHOLDERS = {"string", "str", "id", "the"}


@dataclass(frozen=True, slots=True)
class CodeLine:
    """One line of the code under review."""

    text: str
    number: int
    path: str | None
    added: bool


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
    def response_format(self) -> str:
        """One of "text", "json_object", "json_schema"."""
        return str(_dig(self.body, "response_format", "type") or "text")

    @property
    def max_tokens(self) -> int:
        """What the reply may take; 0 when not said."""
        asked = self.body.get("max_tokens") or self.body.get("max_completion_tokens")
        return asked if isinstance(asked, int) else 0

    @cached_property
    def kind(self) -> str:
        """One of "check", "review", "chat": by the schema's name, else by the text."""
        schema = _dig(self.body, "response_format", "json_schema", "name")
        if schema in {"review_comments", "review_verdicts"}:
            return "check" if schema == "review_comments" else "review"
        if self.comments:
            return "review"
        asked = "existing_code" in self.text or '"comments"' in self.text
        return "check" if asked or any(_GUTTER.match(line) for line in self.lines) else "chat"

    @cached_property
    def lines(self) -> list[str]:
        """The user's text by lines; only true line ends count."""
        return self.user.split("\n")

    @cached_property
    def code(self) -> list[CodeLine]:
        """Lines of code worth a comment: the added ones of a diff, else all with a gutter."""
        found, path = [], None
        for line in self.lines:
            match = _GUTTER.match(line)
            if match is None:
                named = _DIFF_PATH.match(line) or _PATH.match(line)
                path = named[1] if named else path
            elif match[2] and len(match[4].strip()) > _TOO_SHORT:
                added = "+" in (match[1], match[3])
                found.append(CodeLine(match[4].rstrip("\r"), int(match[2]), path, added))
        return [line for line in found if line.added] or found

    @cached_property
    def comments(self) -> dict[str, str]:
        """The comments to judge: id -> the text from its id to the next one."""
        marks = [m for m in _COMMENT_ID.finditer(self.user) if m[1] not in _PLACEHOLDERS]
        edges = [mark.start() for mark in marks] + [len(self.user)]
        found: dict[str, str] = {}
        for mark, (start, end) in zip(marks, pairwise(edges), strict=True):
            found[mark[1]] = found.get(mark[1], "") + self.user[start:end]
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
