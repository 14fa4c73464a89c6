"""
Keys masked in texts: known ones wherever they stand, unknown ones where they have a usual shape.

A server may echo a key in an error, whole or cut off; so a known key is matched by its first
characters and whatever follows them without a break.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from tasks.core.calls import Reply
from tasks.core.text_safety import visible_lines

__all__ = ["ScrubFilter", "Scrubber", "protect_logs", "scrubbed_reply"]

MASK = "***"
_PREFIX = 12
_LEAST = 8  # characters; what is shorter is a word that a reply may have anyway
_REST = r"[\w.~+/=%-]*"
_SHAPES = (
    r"(?i:\bbearer\s+)[\w.~+/=*-]{8,}",
    r"\b(?:sk|pk|rk|gsk|xai|key)-[\w*.-]{8,}",
)


class Scrubber:
    """Callable that masks keys in a text. Its repr shows how many keys it knows, never one."""

    def __init__(self, keys: Iterable[SecretStr] = ()) -> None:
        self._know({key.get_secret_value() for key in keys} - {""})

    def learn(self, other: Scrubber) -> None:
        """Mask the keys that another one knows, too."""
        self._know({*self._values, *other._values})

    def _know(self, values: set[str]) -> None:
        self._values = frozenset(values)
        spellings = values | {quote(value, safe="") for value in values}
        known = [_known(value) for value in sorted(spellings, key=len, reverse=True)]
        self._pattern = re.compile("|".join([*known, *_SHAPES]))
        self._count = len(values)
        self._halves = [
            (key[: max(_PREFIX, (len(key) + 1) // 2)], key)
            for value in sorted(values, key=len, reverse=True)
            for key in ({value, quote(value, safe="")} if len(value) >= _LEAST else ())
        ]
        """Of each key, the half by which it is known; for replies."""

    def __call__(self, text: str, limit: int | None = None) -> str:
        """`text` without keys, cut to `limit` characters (after masking, so no half key is left)."""
        clean = self._pattern.sub(MASK, text)
        if limit is not None and len(clean) > limit:
            return clean[: limit - 1] + "…"
        return clean

    def known(self, text: str) -> str:
        """`text` without the keys that are known, or half of one; whatever only looks like one stays.

        For replies: they speak of code, whose words may have the shape of a key.
        """
        for start, key in self._halves:
            if start in text:
                cut = re.compile(re.escape(start) + _REST)
                text = cut.sub(MASK, text.replace(key, MASK))
        return text

    def __repr__(self) -> str:
        return f"Scrubber({self._count} keys)"


def _known(value: str) -> str:
    if len(value) <= _PREFIX:
        return re.escape(value)
    return re.escape(value[:_PREFIX]) + r"[^\s\"'<>]*"


class ScrubFilter(logging.Filter):
    """Masks keys in a record's message and traceback, shows control characters; drops no record."""

    def __init__(self, scrub: Scrubber) -> None:
        super().__init__()
        self._scrub = Scrubber()
        self.also(scrub)

    def also(self, scrub: Scrubber) -> None:
        """Mask the keys of one more run, too."""
        self._scrub.learn(scrub)

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True."""
        record.msg, record.args = visible_lines(self._scrub(_message(record))), None
        if record.exc_info and record.exc_info[1] is not None:
            lines = traceback.format_exception(record.exc_info[1])
            record.exc_text = self._scrub("".join(lines).rstrip())
            # Handlers that print exc_info on their own would go around the scrubbed text.
            record.exc_info = None
        elif record.exc_text:
            record.exc_text = self._scrub(record.exc_text)
        return True


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return str(record.msg)


_SAID = ("content", "model", "finish_reason", "request_id", "refusal")
"""What of a reply are the upstream's words."""


def scrubbed_reply(reply: Reply, scrub: Scrubber) -> Reply:
    """A reply of an upstream that repeats what it was sent, on its way in."""
    changed: dict[str, Any] = {
        name: clean
        for name in _SAID
        if (said := getattr(reply, name)) and (clean := scrub.known(said)) != said
    }
    return replace(reply, **changed) if changed else reply


def protect_logs(scrub: Scrubber) -> None:
    """Put the filter on every handler there is; handlers added later need their own.

    Once for each run of the process: a handler's filter knows the keys of all of them.
    """
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        known = next((one for one in handler.filters if isinstance(one, ScrubFilter)), None)
        if known is None:
            handler.addFilter(ScrubFilter(scrub))
        else:
            known.also(scrub)
