"""How an app_id's requests are written over HTTP, and what review.toml may say of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlsplit

from tasks.core.credentials import is_key, names_key
from tasks.core.locations import check_endpoint

__all__ = [
    "CHAT_PATH",
    "HttpOptions",
    "check_base_url",
    "check_chat_path",
    "check_header",
    "check_query",
    "check_reference",
    "is_reference",
]

CHAT_PATH = "/chat/completions"

_REFERENCE = re.compile(r"^(env:\S+|secret:\S+|file:\S.*|cmd:\s*\S.*)$")
_KINDS = ("env:", "secret:", "file:", "cmd:")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, section 5.6.2
_OURS = frozenset(
    {"host", "connection", "transfer-encoding", "accept", "accept-encoding", "expect", "te"}
) | {"trailer", "upgrade", "keep-alive", "proxy-authorization", "proxy-connection", "m-traceid"}
_NAMES = 'name it as "env:VARIABLE", "secret:BLOCK", "file:PATH" or "cmd:COMMAND"'


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How requests of one app_id are written. Nothing in it is secret."""

    chat_path: str = CHAT_PATH
    """Behind base_url; `{model}` in it is the model's name there."""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that hold no secret."""
    auth_header: str = ""
    """Where the key goes, alone; empty: "Authorization: Bearer <key>"."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Our name of a model -> its name there."""
    ca_file: str | None = None
    """Certificates (PEM) that are trusted beside those of the system."""

    @property
    def omits_authorization(self) -> bool:
        """Whether the key is in another header."""
        return self.auth_header.lower() not in {"", "authorization"}

    def sent_name(self, model: str) -> str:
        """The name that an endpoint has for the model."""
        return self.names.get(model, model)

    def path(self, model: str) -> str:
        """The path of a chat request behind base_url."""
        return self.chat_path.replace("{model}", quote(self.sent_name(model), safe=""))


def is_reference(value: str) -> bool:
    """Whether a value says where a secret is, and is none itself."""
    return value.startswith(_KINDS)


def check_reference(value: str) -> str:
    """The value, of the form "env:VARIABLE", "secret:BLOCK", "file:PATH" or "cmd:COMMAND".

    Raises:
        ValueError: it is none of them, and possibly a key: the message does not repeat it.
    """
    if not _REFERENCE.match(value):
        msg = 'must be "env:VARIABLE", "secret:BLOCK", "file:PATH" or "cmd:COMMAND", not the key itself'
        raise ValueError(msg)
    if value.startswith("cmd:"):
        try:
            shlex.split(value[4:])
        except ValueError as error:
            msg = f"the command cannot be split into words ({error}): close its quotation marks"
            raise ValueError(msg) from None
    return value


def check_header(name: str, value: str = "env:X") -> None:
    """Check that a header may be set, and holds no secret that a run would store.

    Raises:
        ValueError: it may not; the message does not repeat the value.
    """
    lower = name.lower()
    if not _TOKEN.fullmatch(name):
        msg = f"{name!r} is no name of a header: letters, digits and '-'"
        raise ValueError(msg)
    if lower == "authorization":
        msg = 'Authorization is made of key: leave it out, or name another header as auth_header = "api-key"'
        raise ValueError(msg)
    if lower in _OURS or lower.startswith("content-"):
        msg = f"{name} is set by each request itself: leave it out"
        raise ValueError(msg)
    if is_reference(value):
        check_reference(value)
    elif not value.isascii() or not value.isprintable():
        msg = f"{name} must be one line of ASCII characters"
        raise ValueError(msg)
    elif names_key(name) or is_key(value):
        msg = f"{name} must not hold a secret itself, which is stored with every run: {_NAMES}"
        raise ValueError(msg)


def check_query(name: str, value: str = "") -> None:
    """Check that a parameter is none by which a key is sent, and has not the form of one.

    Raises:
        ValueError: it is.
    """
    if names_key(name) or is_key(value):
        msg = (
            f"{name} must not hold a key, which is stored with every run: send it as a header, as "
            'auth_header = "api-key" or headers = { "api-key" = "env:VARIABLE" }'
        )
        raise ValueError(msg)


def check_chat_path(path: str) -> str:
    """The path of chat requests, as it is.

    Raises:
        ValueError: it is no path, holds a query, or braces around something else than `model`.
    """
    rest = path.replace("{model}", "")
    if not path.startswith("/") or re.search(r"[{}?#\s]", rest) or path.startswith("//"):
        msg = (
            'must be a path as "/openai/deployments/{model}/chat/completions"; what stands behind '
            'a "?" goes into query = { "api-version" = "..." }'
        )
        raise ValueError(msg)
    return path


def check_base_url(url: str) -> str:
    """The start of an endpoint's URLs, without any secret and without a slash at its end.

    Raises:
        ValueError: it has a query, ends in the path of chat requests, or holds a key.
    """
    if not re.match(r"^https?://[^/\s]+", url):
        msg = 'must start with "http://" or "https://"'
        raise ValueError(msg)
    check_endpoint(url)
    parts = urlsplit(url)
    if parts.fragment or "?" in url:
        names = (
            ", ".join(f'"{name}" = "..."' for name, _ in parse_qsl(parts.query)) or '"name" = "..."'
        )
        msg = f"must end before the ?: set query = {{ {names} }} beside it"
        raise ValueError(msg)
    if parts.path.rstrip("/").endswith(CHAT_PATH):
        msg = (
            f"must end before {CHAT_PATH}, which is added to it; where the path is another one, set "
            'chat_path, as "/openai/deployments/{model}/chat/completions"'
        )
        raise ValueError(msg)
    return url.rstrip("/")
