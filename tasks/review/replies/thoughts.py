"""The answer of a reply without the thoughts before it, whatever marks them.

    <think> ... </think>    also thinking, thought, reasoning; any case, attributes, <seed:think>
    [THINK] ... [/THINK]    and the same between ◁ and ▷
    <|channel|>analysis<|message|> ... <|channel|>final<|message|>    also with its tokens stripped

A thought that does not end answers nothing: its drafts are no review.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

__all__ = ["without_thoughts"]

_NAME = r"(?:\w+:)?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad)"
_STYLES = (
    (rf"<{_NAME}(?:\s[^<>]{{0,200}})?>", rf"</{_NAME}\s*>"),
    (r"\[(?:THINK|REASONING)\]", r"\[/(?:THINK|REASONING)\]"),
    (rf"◁{_NAME}▷", rf"◁/{_NAME}▷"),
)
_STARTS = re.compile("|".join(rf"\s*({start})" for start, _ in _STYLES), re.IGNORECASE)
_ENDS = tuple(re.compile(end, re.IGNORECASE) for _, end in _STYLES)
_ANY_END = re.compile("|".join(end for _, end in _STYLES), re.IGNORECASE)
_LINE = re.compile(r"\n[ \t]*(?=[<\[◁])")
_MAX_BLOCKS = 32
"""Thoughts taken out of one reply."""

_HARMONY = re.compile(r"\s*<\|(?:start|channel|message)\|>")
_HARMONY_STRIPPED = re.compile(r"\s*analysis(?=[A-Z\"'{])")
_ANSWER_CHANNEL = re.compile(r"<\|channel\|>(?:final|commentary to=)[^<]*(?:<\|constrain\|>[^<]*)?")
_HARMONY_TOKEN = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_MESSAGE = "<|message|>"


def without_thoughts(text: str) -> tuple[str, ...]:
    """The readings of a reply's answer, likeliest first; none when it is blank or only thought.

    An end tag without a beginning closes a thought whose start the template holds, or stands in
    code that is quoted: then there are several readings.
    """
    if _HARMONY.match(text):
        rest = _final_channel(text)
    elif _HARMONY_STRIPPED.match(text):
        rest = text.rpartition("assistantfinal")[2] if "assistantfinal" in text else ""
    else:
        rest = _without_blocks(text)
    ends = [match.end() for match in _ANY_END.finditer(rest)]
    starts = (ends[-1], ends[0], 0) if ends else (0,)
    readings = (rest[start:].strip() for start in dict.fromkeys(starts))
    return tuple(reading for reading in readings if reading)


def _final_channel(text: str) -> str:
    """The last message that is meant for the reader or a tool."""
    opened = [match.end() for match in _ANSWER_CHANNEL.finditer(text)]
    if not opened or not text.startswith(_MESSAGE, opened[-1]):
        plain_message = text.lstrip().startswith(_MESSAGE)
        return text.lstrip().removeprefix(_MESSAGE) if plain_message else ""
    start = opened[-1] + len(_MESSAGE)
    end = _HARMONY_TOKEN.search(text, start)
    return text[start : end.start() if end else len(text)]


def _without_blocks(text: str) -> str:
    ends = [[match.end() for match in end.finditer(text)] for end in _ENDS]
    kept: list[str] = []
    at = 0
    for _ in range(_MAX_BLOCKS):
        end = _end_of_block(text, at, ends)
        if end is None:
            lines = (match.end() for match in _LINE.finditer(text, at))
            # In the middle of a text a tag without an end is quoted code.
            line = next((one for one in lines if (_end_of_block(text, one, ends) or 0) > 0), None)
            if line is None:
                break
            kept.append(text[at:line])
            at = line
        elif end < 0:
            return "".join(kept)
        else:
            at = end
    return "".join(kept) + text[at:]


def _end_of_block(text: str, at: int, ends: Sequence[Sequence[int]]) -> int | None:
    """Where the thought that starts at `at` ends, -1 if nowhere; None: there is no thought."""
    start = _STARTS.match(text, at)
    if start is None or start.lastindex is None:
        return None
    own = ends[start.lastindex - 1]
    found = bisect_right(own, start.end())
    return own[found] if found < len(own) else -1
