"""
The keys of a process, by alias of their app_id, as they are now: tokens expire in mid-run.

A key is read anew when it is older than its `max_age`, by one call while the others go on with the
one that they have, and when an endpoint refuses it. Quota windows belong to the alias, so a new key
goes on in the windows of the old one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from tasks.core.errors import ConfigError, ReviewError
from tasks.upstream.calls.scrub import Scrubber

__all__ = ["Credentials", "KeyRing", "KeySource"]

_LOG = logging.getLogger(__name__)

_AGAIN = 60.0
"""Seconds after which an old key is read again when that has failed."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is secret in the requests of an app_id."""

    key: SecretStr
    headers: Mapping[str, SecretStr] = field(default_factory=dict)

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """All values."""
        return (self.key, *self.headers.values())


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where the credentials of one app_id come from."""

    read: Callable[[], Credentials]
    """Raises ReviewError when there is none to be had."""
    changes: bool = False
    """Reading it again may give another one."""
    max_age: float | None = None
    """Seconds after which it is read again."""


@dataclass(slots=True)
class _Held:
    source: KeySource
    current: Credentials
    began: float
    """When it was read, on time.monotonic()."""
    due: float
    unproved: bool = False
    """It was read because the one before was refused, and nothing was answered on it yet."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class KeyRing(Mapping[str, SecretStr]):
    """Keys by alias; threads share one object.

    `on_new` gets each new secret before a request carries it. The ring's own `scrub` knows all that
    there have been.

    Raises:
        ReviewError: a key cannot be read.
    """

    def __init__(
        self,
        sources: Mapping[str, KeySource],
        *,
        on_new: Callable[[Scrubber], object] = lambda _: None,
    ) -> None:
        self.scrub = Scrubber()
        self._on_new = on_new
        self._held: dict[str, _Held] = {}
        for alias, source in sources.items():
            began, found = time.monotonic(), source.read()
            self._held[alias] = _Held(source, found, began, _due(source, began))
        self._learn([one for held in self._held.values() for one in held.current.secrets])

    @classmethod
    def of(cls, keys: Mapping[str, SecretStr]) -> KeyRing:
        """The ring itself, or a ring of keys that stay as they are."""
        if isinstance(keys, KeyRing):
            return keys
        return cls({alias: _fixed(key) for alias, key in keys.items()})

    def __getitem__(self, alias: str) -> SecretStr:
        return self.current(alias).key

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self)})"

    def current(self, alias: str) -> Credentials:
        """Those that requests carry now."""
        return self._held[alias].current

    def renew(self, alias: str) -> None:
        """Read those that are too old anew; while one call does, others do not wait for it.

        Raises:
            ConfigError: nothing is known under that alias.
        """
        held = self._held.get(alias)
        if held is None:
            msg = f"no key is known for app_id {alias}: set what its key names"
            raise ConfigError(msg)
        if time.monotonic() > held.due and held.lock.acquire(blocking=False):
            try:
                self._read(alias, held)
            finally:
                held.lock.release()

    def refresh(self, alias: str, used: Credentials) -> bool:
        """Read what an endpoint has refused anew. True: there is another one than `used`.

        Once: a new key that is refused as well is not read again before it was `answered`.
        """
        held, asked = self._held[alias], time.monotonic()
        with held.lock:
            # Of those that were refused at once, one reads, and the others wait for what it finds.
            known = held.current != used or held.began >= asked or held.unproved
            if held.source.changes and not known:
                self._read(alias, held)
                held.unproved = held.current != used
            return held.current != used

    def answered(self, alias: str) -> None:
        """The key was good."""
        self._held[alias].unproved = False

    def _read(self, alias: str, held: _Held) -> None:
        began = time.monotonic()
        try:
            found = held.source.read()
        except Exception as error:  # noqa: BLE001 - Prefect's server may be gone; the key may be good
            held.began, held.due = began, time.monotonic() + _AGAIN
            said = str(error) if isinstance(error, ReviewError) else type(error).__name__
            _LOG.warning("app_id %s goes on with the key it has: %s", alias, said)
            return
        if found != held.current:
            self._learn(found.secrets)
            _LOG.info("app_id %s has a new key", alias)
        held.current, held.began, held.due = found, began, _due(held.source, began)

    def _learn(self, secrets: Any) -> None:
        found = Scrubber(secrets)
        self.scrub.learn(found)
        self._on_new(found)


def _due(source: KeySource, began: float) -> float:
    return float("inf") if source.max_age is None else began + source.max_age


def _fixed(key: SecretStr) -> KeySource:
    return KeySource(lambda: Credentials(key))
