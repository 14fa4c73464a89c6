"""Quotas as plain records: what an app_id may send. Formulas and evidence: tasks/upstream/quota."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from tasks.core.endpoints import HttpOptions
from tasks.core.errors import ConfigError

__all__ = [
    "AppId",
    "Window",
    "is_loopback",
    "parse_duration",
    "parse_window",
    "place_of",
    "shared_quotas",
]

_WINDOW = re.compile(r"^\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*(ms|s|m|min|h|d)\s*$")
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)\s*$")
_LOOPBACK = frozenset({"::1", "0.0.0.0"})  # noqa: S104  (compared, not bound)
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` requests (or tokens) in any `seconds` in a row."""

    limit: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.limit}/{self.seconds:g}s"


@dataclass(frozen=True, slots=True)
class AppId:
    """One app_id's quota. The key itself is never part of this record."""

    alias: str
    base_url: str = ""
    windows: tuple[Window, ...] = ()
    """Request windows; all of them hold at once. Empty: no limit."""
    token_windows: tuple[Window, ...] = ()
    models: frozenset[str] | None = None
    """Models this app_id serves; None: all."""
    pace: bool = False
    """Spread sends evenly instead of bursting at the start of a window."""
    max_in_flight: int | None = None
    provider: str = ""
    """Label of who answers; those with the same one share answers. Empty: the place of base_url."""
    http: HttpOptions = field(default_factory=HttpOptions)
    """How its requests are written."""
    quota_group: str = ""
    """Name of the quota that it shares with others; empty: it has one of its own."""

    @property
    def quota_name(self) -> str:
        """Identity of its quota in the ledger: the group's, or its own alias."""
        return self.quota_group or self.alias

    @property
    def answers_as(self) -> str:
        """Identity of who answers, as the journal's keys have it."""
        return self.provider or place_of(self.base_url)

    def serves(self, model: str) -> bool:
        """Whether calls to `model` may go through this app_id."""
        return self.models is None or model in self.models


def shared_quotas(pool: Iterable[AppId]) -> tuple[AppId, ...]:
    """The quotas of a pool, each once: the app_ids of a group as one, which serves what any of them does."""
    found: dict[str, AppId] = {}
    for app_id in pool:
        name = app_id.quota_name
        known = found.get(name)
        models = app_id.models
        if known is not None:
            both = known.models is not None and models is not None
            models = (known.models or frozenset()) | (models or frozenset()) if both else None
        found[name] = replace(app_id, alias=name, models=models)
    return tuple(found.values())


def place_of(base_url: str) -> str:
    """Scheme, host and path of a base_url, without userinfo and query."""
    parts = urlsplit(base_url)
    host = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme.lower()}://{host}{parts.path.rstrip('/')}"


def is_loopback(base_url: str) -> bool:
    """Whether a base_url is on this machine only, as the sandbox's is."""
    host = urlsplit(base_url).hostname or ""
    return (
        host == "localhost"
        or host.endswith(".localhost")
        or host in _LOOPBACK
        or host.startswith("127.")
    )


def parse_window(text: str) -> Window:
    """`"3/60s"` -> Window(3, 60.0). Units: ms, s, m, min, h, d; the number may be left out ("10/s").

    Raises:
        ConfigError: not of that form, or a limit or length of 0.
    """
    match = _WINDOW.match(text)
    if match is None:
        msg = f'"{text}" is not a window: write LIMIT/SECONDS, for example "3/60s" or "500/1m"'
        raise ConfigError(msg)
    seconds = float(match[2] or 1) * _UNIT[match[3]]
    if int(match[1]) < 1 or seconds <= 0:
        msg = f'"{text}" allows nothing: limit and length must be above 0; use [] for no limit'
        raise ConfigError(msg)
    return Window(int(match[1]), seconds)


def parse_duration(text: str) -> float:
    """`"45m"` in seconds. Units: ms, s, m, min, h, d.

    Raises:
        ConfigError: not of that form, or 0.
    """
    match = _DURATION.match(text)
    seconds = float(match[1]) * _UNIT[match[2]] if match else 0.0
    if not seconds:
        msg = f'"{text}" is not a duration: write a number above 0 and its unit, as "45m" or "1h"'
        raise ConfigError(msg)
    return seconds
