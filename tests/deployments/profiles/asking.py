"""What a naive client sends to each provider, and how its answers are looked into."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

__all__ = ["CODE", "JSON_OBJECT", "JSON_SCHEMA", "NAIVE", "Send", "dig", "events", "user"]

SCHEMA = {"name": "review_comments", "strict": True, "schema": {"type": "object"}}
JSON_SCHEMA = {"type": "json_schema", "json_schema": SCHEMA}
JSON_OBJECT = {"type": "json_object"}
CODE = "File: src/app.py\n    10 | def total(rows):\n    11 |     return sum(rows) / len(rows)\n"
NAIVE = {"temperature": 0.0, "max_tokens": 2048, "response_format": JSON_SCHEMA}
Send = Callable[..., httpx.Response]


def user(text: str) -> dict[str, str]:
    """A user message."""
    return {"role": "user", "content": text}


def dig(value: Any, path: str) -> Any:
    """A member by its path: "error.code", "0.error.status"."""
    for name in path.split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def events(response: httpx.Response) -> list[Any]:
    """The JSON of a stream's events."""
    lines = response.text.splitlines()
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(text) for text in data if text != "[DONE]"]
