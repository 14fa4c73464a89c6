"""Where in a reply the answer may stand: behind the thoughts, in a code fence, or in prose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

__all__ = ["Answer", "answers"]

_THOUGHT = re.compile(r"\s*<(?:think|thinking|reasoning)>")
_THOUGHT_ENDS = re.compile(r"</(?:think|thinking|reasoning)>")
_FENCE = re.compile(r"```\w*+\s*+(?=[{\[])(.*?)(?:```|\Z)", re.DOTALL)
_MAX_FENCES = 8


class Answer(NamedTuple):
    """A stretch of the reply to look for JSON in."""

    text: str
    alone: bool
    """It starts with the JSON; else that may be code which the prose around it quotes."""


def answers(text: str) -> Iterator[Answer]:
    """All that is worth reading, likeliest first; nothing when the reply is blank or only thought."""
    for rest in _behind_thoughts(text):
        stripped = rest.strip()
        if stripped.startswith(("{", "[")):
            yield Answer(stripped, alone=True)
        elif stripped:
            for match in islice(_FENCE.finditer(stripped), _MAX_FENCES):
                yield Answer(match[1].strip(), alone=True)
            yield Answer(stripped, alone=False)


def _behind_thoughts(text: str) -> Iterator[str]:
    ends = [match.end() for match in _THOUGHT_ENDS.finditer(text)]
    for end in sorted({ends[0], ends[-1]}) if ends else ():
        yield text[end:]
    # A thought that does not end answers nothing; but an end tag may be in code that is quoted.
    if not _THOUGHT.match(text):
        yield text
