"""
One openai client per (app_id, base_url) and process, made once, bounded, replaced when it broke.

    with pool.lease(alias, base_url) as lease:
        lease.client.ask(...)

An app_id whose key has changed gets a new client with its next lease.

Connections belong to the endpoint and not to the client (see transport), so evicting or replacing a
client costs a millisecond and no handshake.
"""

from __future__ import annotations

import atexit
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import httpx2
from pydantic import SecretStr

from tasks.core.endpoints import HttpOptions
from tasks.upstream.calls.endpoint_client import EndpointClient
from tasks.upstream.calls.key_ring import Credentials, KeyRing
from tasks.upstream.calls.transport import Transport

__all__ = ["ClientPool", "PooledClient"]


class PooledClient:
    """A client in use. Not closed before it is given back."""

    __slots__ = ("client", "credentials", "key", "retired", "transport", "users")

    def __init__(
        self,
        key: tuple[str, str],
        client: EndpointClient,
        credentials: Credentials,
        transport: Transport,
    ) -> None:
        self.key = key
        self.client = client
        self.credentials = credentials
        self.transport = transport
        self.users = 0
        self.retired = False


class ClientPool:
    """
    Clients by (alias, base_url), at most `max_clients` of them, least recently used out first.

    A client in use is never closed: when all are in use, the bound is exceeded until one is free.
    `timeout` and `connect_timeout` are in seconds; `options` by alias, as far as they differ from
    the defaults.
    """

    def __init__(
        self,
        keys: Mapping[str, SecretStr],
        *,
        options: Mapping[str, HttpOptions] | None = None,
        max_clients: int = 64,
        timeout: float = 600.0,
        connect_timeout: float = 10.0,
    ) -> None:
        self.keys = KeyRing.of(keys)
        self._options = dict(options or {})
        self._max_clients = max_clients
        self._timeout = httpx2.Timeout(timeout, connect=connect_timeout)
        self._lock = threading.Lock()
        self._leases: OrderedDict[tuple[str, str], PooledClient] = OrderedDict()
        self._transports: dict[tuple[str, str | None], Transport] = {}
        self._counts = dict.fromkeys(("created", "reused", "replaced", "evicted"), 0)
        atexit.register(self.close)

    @contextmanager
    def lease(self, alias: str, base_url: str) -> Iterator[PooledClient]:
        """The client of that app_id, for as long as the block runs.

        Raises:
            ConfigError: the pool has no key under that alias.
        """
        lease = self._enter((alias, base_url))
        try:
            yield lease
        finally:
            self._leave(lease)

    def replace(self, lease: PooledClient) -> None:
        """After a connection failure: the next call gets a new client and a new connection."""
        with self._lock:
            if self._leases.get(lease.key) is lease:
                del self._leases[lease.key]
                lease.retired = True
                self._counts["replaced"] += 1
        # Idle connections lead to the same server that just cut one: do not try them out.
        lease.transport.drop_idle()

    def statistics(self) -> dict[str, int]:
        """Clients now, in use, created, reused, replaced, evicted; connections opened."""
        with self._lock:
            return {
                "clients": len(self._leases),
                "in_use": sum(lease.users for lease in self._leases.values()),
                **self._counts,
                "connections": sum(transport.opened for transport in self._transports.values()),
            }

    def close(self) -> None:
        """Close all clients and connections. Safe to call twice; also runs at exit."""
        atexit.unregister(self.close)
        with self._lock:
            leases = list(self._leases.values())
            transports = list(self._transports.values())
            self._leases.clear()
        for lease in leases:
            lease.client.close()
        for transport in transports:
            transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self.statistics().items())
        return f"ClientPool({facts})"

    def _enter(self, key: tuple[str, str]) -> PooledClient:
        self.keys.renew(key[0])  # before the lock: it may take a second
        with self._lock:
            credentials = self.keys.current(key[0])
            outdated = self._outdated(key, credentials)
            lease = self._leases.get(key)
            if lease is None:
                # Made under the lock: one millisecond, once, and never twice for one key.
                lease = self._leases[key] = self._make(key, credentials)
                self._counts["created"] += 1
            else:
                self._leases.move_to_end(key)
                self._counts["reused"] += 1
            lease.users += 1
            evicted = self._evict()
        for old in [*outdated, *evicted]:
            old.client.close()
        return lease

    def _outdated(self, key: tuple[str, str], credentials: Credentials) -> list[PooledClient]:
        """Take a client with an earlier key out of the pool; it is returned if nobody uses it."""
        lease = self._leases.get(key)
        if lease is None or lease.credentials == credentials:
            return []
        del self._leases[key]
        lease.retired = True
        self._counts["replaced"] += 1
        return [] if lease.users else [lease]

    def _leave(self, lease: PooledClient) -> None:
        with self._lock:
            lease.users -= 1
            close = lease.retired and lease.users == 0
        if close:
            lease.client.close()

    def _evict(self) -> list[PooledClient]:
        surplus = len(self._leases) - self._max_clients
        if surplus <= 0:
            return []
        idle = [lease for lease in self._leases.values() if not lease.users][:surplus]
        for lease in idle:
            del self._leases[lease.key]
        self._counts["evicted"] += len(idle)
        return idle

    def _make(self, key: tuple[str, str], credentials: Credentials) -> PooledClient:
        alias, base_url = key
        options = self._options.get(alias, HttpOptions())
        place = base_url, options.ca_file
        transport = self._transports.get(place)
        if transport is None:
            transport = self._transports[place] = Transport(base_url, ca_file=options.ca_file)
        client = EndpointClient(
            transport,
            self._timeout,
            api_key=credentials.key.get_secret_value(),
            base_url=base_url,
            default_headers=_headers(options, credentials),
            default_query=options.query,
        )
        # They come from OPENAI_ORG_ID and OPENAI_PROJECT_ID, which belong to one key, not to a pool.
        client.organization = client.project = None
        return PooledClient(key, client, credentials, transport)


def _headers(options: HttpOptions, credentials: Credentials) -> dict[str, Any]:
    key = credentials.key.get_secret_value()
    secret = {name: value.get_secret_value() for name, value in credentials.headers.items()}
    # Said here, they win over what OPENAI_CUSTOM_HEADERS may hold.
    ours: dict[str, Any] = {"Accept-Encoding": "identity", **options.headers, **secret}
    if options.auth_header:
        return {**ours, options.auth_header: key}
    return {"Authorization": f"Bearer {key}", **ours}
