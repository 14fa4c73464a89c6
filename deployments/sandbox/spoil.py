"""Good content made bad: the faults of what a model says, as opposed to how it is carried."""

from __future__ import annotations

import re
from dataclasses import replace

from deployments.sandbox.config import SandboxConfig
from deployments.sandbox.faults import Fault
from deployments.sandbox.profiles import Profile
from deployments.sandbox.refusals import ERROR_BODY
from deployments.sandbox.wire import SandboxReply

__all__ = ["spoiled"]


def spoiled(done: SandboxReply, fault: Fault | None, config: SandboxConfig) -> SandboxReply:
    """`done` as this fault leaves it; unchanged for faults that are not about content."""
    if fault is None:
        return done
    text = done.content or ""
    if fault in {Fault.LENGTH, Fault.CONTENT_FILTER}:
        return replace(done, content=_half(text), finish_reason=str(fault))
    if fault is Fault.BROKEN_OFF:
        return _broken_off(done, config.provider)
    if fault is Fault.HUGE:
        # White space after the object: still valid JSON, but 5 MB of it.
        return replace(done, content=text.ljust(config.huge_bytes))
    if fault in {Fault.REFUSAL, Fault.NULL_CONTENT}:
        refusal = "I'm sorry, I can't assist with that." if fault is Fault.REFUSAL else None
        return replace(done, content=None, refusal=refusal)
    choices = fault is not Fault.EMPTY_CHOICES
    return replace(done, content=_reworded(text, fault), choices=choices)


def _broken_off(done: SandboxReply, provider: Profile) -> SandboxReply:
    error = None
    if provider.choice_errors:
        error = provider.shape(provider.worded(ERROR_BODY))["error"]
    content = _half(done.content or "")
    return replace(done, content=content, finish_reason=provider.broken_end, error=error)


def _half(text: str) -> str:
    return text[: len(text) // 2]


def _reworded(text: str, fault: Fault) -> str:
    match fault:
        case Fault.BROKEN_JSON:
            return text.replace('":', '" ')
        case Fault.PROSE:
            return "I looked at the change and it seems fine overall, with minor remarks."
        case Fault.FENCED:
            return f"Here is the review you asked for:\n\n```json\n{text}\n```\nLet me know!"
        case Fault.TRAILING_COMMAS:
            return re.sub(r"(\}?)(\]\})$", _commas, text)
        case _:
            return text


def _commas(end: re.Match[str]) -> str:
    # After the last item's last field, after the last item, after the list.
    return (",}," if end[1] else "") + "],}"
