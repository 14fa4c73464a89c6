"""Whether a field looks like one that holds a key, by its name or by its text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

__all__ = ["credential_in"]

_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-.\s]+")
_NAME = re.compile(
    r"(?:.*_)?(?:key|apikey|secret|password|passwd|passphrase|credentials?|auth|authorization|cookie)"
    r"|(?:.*_)?(?:access|api|auth|bearer|id|refresh|security|session)_token|token"
)
_HARMLESS = frozenset({"prompt_cache_key", "cache_key", "idempotency_key"})
"""Labels that providers ask for in a body."""
_TEXT = re.compile(
    r"(?i:bearer|basic)\s+\S{8,}"
    r"|(?:sk|pk|rk|gsk|xai)[-_][\w.-]{8,}"
    r"|AIza[\w-]{30,}|gh[pousr]_\w{20,}|AKIA[0-9A-Z]{16}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
)


def credential_in(value: Any) -> str | None:
    """The dotted name of the first field of `value` that holds a key, or None; never its text.

    A name as `api_key`, `x-api-key` or `Authorization` counts where its value is text; a value that
    has the form of a key or of a bearer token counts under any name.
    """
    return next(_found(value, ()), None)


def _found(value: Any, names: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _found(one, (*names, str(name)))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _found(one, names)
    elif (
        isinstance(value, str) and value and (_is_key_name(names) or _TEXT.fullmatch(value.strip()))
    ):
        yield ".".join(names)


def _is_key_name(names: tuple[str, ...]) -> bool:
    name = _BORDER.sub("_", names[-1]).lower() if names else ""
    return name not in _HARMLESS and bool(_NAME.fullmatch(name))
