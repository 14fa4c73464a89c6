"""
Markers of chat templates that occur in code: `<|im_end|>`, `[/INST]`, `<end_of_turn>` and their kin.

Many servers cut the rendered prompt into tokens with such markers switched on, so code that spells
one would end the user's turn and open one of its own. An invisible word joiner after the first
character makes it text again; `restore` takes it out of what the model quotes.
"""

from __future__ import annotations

import re

__all__ = ["defuse", "restore"]

_JOINER = "\u2060"
_MARKER = re.compile(
    r"<(?=[|\uff5c][^\s|\uff5c<>]{1,40}[|\uff5c]>|/?(?:s|bos|eos|pad|unk)>|(?:start|end)_of_turn>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
)
_DEFUSED = re.compile(rf"([<\[]){_JOINER}")


def defuse(text: str) -> str:
    """`text` without any marker a chat template would obey. Linear in its length."""
    return _MARKER.sub(rf"\g<0>{_JOINER}", text)


def restore(text: str) -> str:
    """Undo `defuse`."""
    return _DEFUSED.sub(r"\1", text) if _JOINER in text else text
