"""Names and texts that look like keys; and which variables this machine lends as keys."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

__all__ = [
    "PERMIT",
    "credential_in",
    "is_key",
    "is_lent",
    "lent_patterns",
    "names_key",
    "without_keys",
]

PERMIT = "NIGHTLY_REVIEW_KEYS"
"""Variable: names of variables and Secret blocks, as patterns with * and commas between them."""

_PERMITTED = "APP_ID_*,app-id-*"

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


_SENT = re.compile(
    r"key|token|secret|passw|auth(?!or)|cookie|credential|signature|^(?:code|sig)$", re.IGNORECASE
)
"""In the name of a header or of a URL's parameter: few of them have such a word for anything else."""


def names_key(name: str) -> bool:
    """Whether a header, or a parameter of a URL, of that name carries a key."""
    return bool(_SENT.search(name))


def is_key(text: str) -> bool:
    """Whether a text has the form of a key or of a bearer token, whatever its name."""
    return bool(_TEXT.fullmatch(text.strip()))


def lent_patterns() -> list[str]:
    """Names that this machine lends to runs as keys: those of PERMIT, else APP_ID_* and app-id-*."""
    return [one.strip() for one in os.environ.get(PERMIT, _PERMITTED).split(",")]


def is_lent(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name is one of `patterns`."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def without_keys(environment: Mapping[str, str], named: Collection[str] = ()) -> dict[str, str]:
    """The environment of a process that needs no key: without those `named`, lent, or formed as one.

    Prefect's own variables stay.
    """
    patterns = [pattern for pattern in lent_patterns() if pattern.strip("*")]
    return {
        name: value
        for name, value in environment.items()
        if name.startswith("PREFECT_")
        or not (name in named or is_lent(name, patterns) or is_key(value))
    }


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
    elif isinstance(value, str) and value and (_is_key_name(names) or is_key(value)):
        yield ".".join(names)


def _is_key_name(names: tuple[str, ...]) -> bool:
    name = _BORDER.sub("_", names[-1]).lower() if names else ""
    return name not in _HARMLESS and bool(_NAME.fullmatch(name))
