"""Locations that a user writes: a folder, the URL of shared storage, or a PostgreSQL database."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from tasks.core.credentials import is_key, names_key

__all__ = [
    "batches_location",
    "check_endpoint",
    "check_state",
    "is_database",
    "is_url",
    "journal_location",
    "ledger_location",
    "redacted",
    "resolve_state",
    "without_password",
]

_SCHEMES = ("postgresql://", "postgres://")
_SECRETS = {"password", "sslpassword"}
_HOST = r"(\[[^\[\]]*\]|[^\[\]:,]*)(:[0-9]*)?"
_ADDRESS = re.compile(f"@?{_HOST}(,{_HOST})*(/[^@]*)?")


def is_database(state: str | Path) -> bool:
    """Whether `state` is the URL of a PostgreSQL database; otherwise it is a folder or file."""
    return str(state).startswith(_SCHEMES)


def is_url(location: str) -> bool:
    """Whether fsspec opens a location; otherwise it is a path of this machine."""
    return "://" in location


def without_password(location: str) -> str:
    """A URL without credentials, or a path, without the slash at its end.

    Raises:
        ValueError: the URL holds a password; the message does not repeat it.
    """
    if is_url(location) and urlsplit(location).password:
        msg = (
            "must not hold a password: it is stored with every run. Leave it out of the URL and "
            "give it to the driver on every machine (fsspec's configuration, or its variables)"
        )
        raise ValueError(msg)
    return location.rstrip("/")


def check_endpoint(url: str) -> None:
    """Check that the URL of an endpoint holds no password and no key.

    Raises:
        ValueError: it does; the message does not repeat it.
    """
    parts = urlsplit(url)
    named = parse_qsl(parts.query, keep_blank_values=True)
    if "@" in parts.netloc or any(names_key(name) or is_key(value) for name, value in named):
        msg = (
            "must not hold a password or key: it is stored with every run. Leave it out of the URL "
            'and name the key as key = "env:VARIABLE", "secret:BLOCK", "file:PATH" or "cmd:COMMAND"'
        )
        raise ValueError(msg)


def check_state(state: str) -> str:
    """Check that `state` is a folder, or a database's URL without a password; returns it.

    Raises:
        ValueError: it is a URL with a password, or of something else; the message repeats neither.
    """
    user, address, options = _parts(state)
    secret = user.partition(":")[2] or _SECRETS & dict(parse_qsl(options)).keys()
    if is_database(state) and secret:
        msg = (
            "must not hold a password: it is stored with every run. Leave it out of the URL and set "
            "PGPASSWORD, or use a ~/.pgpass file, on every machine"
        )
        raise ValueError(msg)
    if "://" in state and not (is_database(state) and _ADDRESS.fullmatch(address)):
        msg = 'must be a folder, or a database as "postgresql://user@host/database"'
        raise ValueError(msg)
    return state


def _parts(url: str) -> tuple[str, str, str]:
    """User and password, hosts with the database, options: as PostgreSQL's own library reads them.

    To urlsplit a user ends at "#" or "?", which a password may hold.
    """
    rest = url.partition("://")[2]
    user = rest.partition("/")[0].rpartition("@")[0]
    address, _, options = rest[len(user) :].partition("?")
    return user, address, options


def resolve_state(state: str) -> str:
    """The state's location for every process: a folder made absolute, a database as it is."""
    return state if is_database(state) else str(Path(state).absolute())


def batches_location(state: str) -> str:
    """The file of the batches in the folder `state`, or the database itself."""
    return state if is_database(state) else str(Path(state) / "batches.sqlite")


def journal_location(state: str) -> str:
    """The journal's file in the folder `state`, or the database itself."""
    return state if is_database(state) else str(Path(state) / "journal.sqlite")


def ledger_location(state: str) -> str:
    """The ledger's file in the folder `state`, or the database itself."""
    return state if is_database(state) else str(Path(state) / "ledger.sqlite")


def redacted(location: str | Path) -> str:
    """A database's URL without user, password and options; a path as it is. For messages."""
    if not is_database(location):
        return str(location)
    url = urlsplit(str(location))
    return f"postgresql://{url.hostname or ''}{url.path}"
