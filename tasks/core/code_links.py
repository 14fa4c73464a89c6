"""
Addresses of lines at a code host, from the setting `link` of review.toml.

    https://git.example.test/{repo}/blob/{commit}/{path}#L{line}

Repository, commit and path come from the source and from models: they are percent-encoded, may stand
behind the host only, and lead nowhere else on it than below the folders that the setting names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

__all__ = ["check_link", "code_link"]

_FIELDS = ("repo", "commit", "path", "line")
_BRACES = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(r"[\s\"'<>\\^`|\x00-\x1f\x7f-\x9f]")


def check_link(link: str) -> str:
    """The link as it is, if it can be one.

    Raises:
        ValueError: no http or https, a login or a field in the host, unknown fields.
    """
    parts = urlsplit(link)
    host = parts.netloc
    if parts.scheme not in {"http", "https"} or not host or "{" in host or "@" in host:
        msg = 'must begin with "https://" or "http://" and the host, without a login'
        raise ValueError(msg)
    rest = _BRACES.sub("", link)
    unknown = [name for name in _BRACES.findall(link) if name not in _FIELDS]
    if unknown or "{" in rest or "}" in rest or _UNSAFE.search(rest):
        msg = "may hold {repo}, {commit}, {path} and {line}; other special characters as %20"
        raise ValueError(msg)
    return link


def code_link(link: str, values: Mapping[str, object]) -> str | None:
    """The address of one line; None where a field of the link has no value, or one that leads elsewhere.

    `values` has texts or numbers by the names of the fields.
    """
    found = {name: str(values.get(name) or "") for name in _BRACES.findall(link)}
    if not all(found.values()) or not all(map(_is_below, found.values())):
        return None
    return _BRACES.sub(lambda field: quote(found[field[1]], safe="/"), link)


def _is_below(value: str) -> bool:
    parts = value.replace("\\", "/").split("/")
    return not any(part in {"", ".", ".."} for part in parts)
