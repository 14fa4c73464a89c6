"""
One openai client per (app_id, base_url) and process, made once, bounded, replaced when it broke.

    with pool.lease(alias, base_url) as lease:
        lease.client.post(...)

Connections belong to the endpoint and not to the client (see transport), so evicting or replacing a
client costs a millisecond and no handshake.
"""

from __future__ import annotations

import atexit
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import httpx2
import openai
from pydantic import SecretStr

from tasks.core.errors import ConfigError
from tasks.upstream.calls.transport import Transport

__all__ = ["ClientPool", "PooledClient"]


class PooledClient:
    """A client in use. Not closed before it is given back."""

    __slots__ = ("client", "key", "retired", "users")

    def __init__(self, key: tuple[str, str], client: openai.OpenAI) -> None:
        self.key = key
        self.client = client
        self.users = 0
        self.retired = False


class _Shared(httpx2.BaseTransport):
    """The endpoint's transport as one client sees it: the client's end does not close it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._transport.handle_request(request)


class ClientPool:
    """
    Clients by (alias, base_url), at most `max_clients` of them, least recently used out first.

    A client in use is never closed: when all are in use, the bound is exceeded until one is free.
    `timeout` and `connect_timeout` are in seconds.
    """

    def __init__(
        self,
        keys: Mapping[str, SecretStr],
        *,
        max_clients: int = 64,
        timeout: float = 600.0,
        connect_timeout: float = 10.0,
    ) -> None:
        self._keys = dict(keys)
        self._max_clients = max_clients
        self._timeout = httpx2.Timeout(timeout, connect=connect_timeout)
        self._lock = threading.Lock()
        self._leases: OrderedDict[tuple[str, str], PooledClient] = OrderedDict()
        self._transports: dict[str, Transport] = {}
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
            transport = self._transports[lease.key[1]]
        # Idle connections lead to the same server that just cut one: do not try them out.
        transport.drop_idle()

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self.statistics().items())
        return f"ClientPool({facts})"

    def _enter(self, key: tuple[str, str]) -> PooledClient:
        with self._lock:
            lease = self._leases.get(key)
            if lease is None:
                # Made under the lock: one millisecond, once, and never twice for one key.
                lease = self._leases[key] = PooledClient(key, self._make(*key))
                self._counts["created"] += 1
            else:
                self._leases.move_to_end(key)
                self._counts["reused"] += 1
            lease.users += 1
            evicted = self._evict()
        for old in evicted:
            old.client.close()
        return lease

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

    def _make(self, alias: str, base_url: str) -> openai.OpenAI:
        secret = self._keys.get(alias)
        if secret is None:
            msg = f"no key is known for app_id {alias}: set the variable or Secret block it names"
            raise ConfigError(msg)
        key = secret.get_secret_value()
        transport = self._transports.setdefault(base_url, Transport(base_url))
        client = openai.OpenAI(
            api_key=key,
            base_url=base_url,
            max_retries=0,  # a hidden retry is a request that the quota never saw
            timeout=self._timeout.read,
            http_client=httpx2.Client(transport=_Shared(transport), timeout=self._timeout),
            # Said here, it wins over what OPENAI_CUSTOM_HEADERS may hold.
            default_headers={"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"},
        )
        # They come from OPENAI_ORG_ID and OPENAI_PROJECT_ID, which belong to one key, not to a pool.
        client.organization = client.project = None
        return client
