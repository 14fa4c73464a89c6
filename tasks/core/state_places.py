"""Where journal and ledger live: a folder of this machine, or a PostgreSQL database."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

__all__ = [
    "check_state",
    "is_database",
    "journal_place",
    "ledger_place",
    "name_of",
    "resolve_state",
]

_SCHEMES = ("postgresql://", "postgres://")
_SECRETS = {"password", "sslpassword"}
_HOST = r"(\[[^\[\]]*\]|[^\[\]:,]*)(:[0-9]*)?"
_ADDRESS = re.compile(f"@?{_HOST}(,{_HOST})*(/[^@]*)?")


def is_database(state: str | Path) -> bool:
    """Whether `state` is the URL of a PostgreSQL database; otherwise it is a folder or file."""
    return str(state).startswith(_SCHEMES)


def check_state(state: str) -> str:
    """`state` as it came.

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
    """The same from wherever a process starts: a folder becomes absolute."""
    return state if is_database(state) else str(Path(state).absolute())


def journal_place(state: str) -> str:
    """The journal's file in the folder `state`, or the database itself."""
    return state if is_database(state) else str(Path(state) / "journal.sqlite")


def ledger_place(state: str) -> str:
    """The ledger's file in the folder `state`, or the database itself."""
    return state if is_database(state) else str(Path(state) / "ledger.sqlite")


def name_of(place: str | Path) -> str:
    """The place without anything that is nobody's business."""
    if not is_database(place):
        return str(place)
    url = urlsplit(str(place))
    return f"postgresql://{url.hostname or ''}{url.path}"
