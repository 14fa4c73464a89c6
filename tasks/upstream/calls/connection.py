"""
One connection at a time to one endpoint, with an end to every call and nothing left behind a reply.

httpcore's timeouts hold for one read or write: a server that sends a byte a second, or `100 Continue`
again and again, would never run into them. Here each of them, connecting and the TLS handshake get
what is left of the attempt.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

__all__ = ["Connection"]

_PIECE = 65_536
"""Bytes written before the clock is looked at again."""


class Connection(httpx2.HTTPTransport):
    """Transport with one connection. `until` is the end of its attempt, on time.monotonic()."""

    def __init__(self, *, verify: ssl.SSLContext, keepalive: float, proxy: str | None) -> None:
        limits = httpx2.Limits(
            max_connections=1, max_keepalive_connections=1, keepalive_expiry=keepalive
        )
        super().__init__(verify=verify, limits=limits, proxy=proxy, trust_env=False)
        self._deadline = _Deadline()
        # httpx2 has no argument for it.
        self._pool._network_backend = _Backend(self._pool._network_backend, self._deadline)  # noqa: SLF001

    @property
    def idle(self) -> float | None:
        """Seconds that one read may wait, once the reply has begun; None: it has not."""
        return self._deadline.idle

    @idle.setter
    def idle(self, seconds: float | None) -> None:
        self._deadline.idle = seconds

    @property
    def until(self) -> float | None:
        """None: no end but that of each timeout."""
        return self._deadline.until

    @until.setter
    def until(self, instant: float | None) -> None:
        self._deadline.until = instant

    def is_clean(self) -> bool:
        """Whether nothing is left behind the last reply, neither read nor waiting to be.

        What is left would be taken for the answer to the next question.
        """
        return all(_is_clean(connection) for connection in self._pool.connections)


def _is_clean(connection: Any) -> bool:
    state = None
    while connection is not None and state is None:
        state = getattr(connection, "_h11_state", None)
        inner = getattr(connection, "_connection", None)
        stream, connection = getattr(connection, "_network_stream", None), inner
    if state is None or stream is None:
        return False
    return not state.trailing_data[0] and not stream.get_extra_info("is_readable")


class _Deadline:
    __slots__ = ("idle", "until")

    def __init__(self) -> None:
        self.until: float | None = None
        self.idle: float | None = None

    def left(self, asked: float | None, error: type[Exception]) -> float | None:
        """Seconds that may be waited, of those `asked` for."""
        if self.until is None:
            return asked
        left = self.until - time.monotonic()
        if left <= 0:
            msg = "the attempt did not end in time"
            raise error(msg)
        return left if asked is None else min(asked, left)


class _Backend(httpcore2.NetworkBackend):
    def __init__(self, backend: httpcore2.NetworkBackend, deadline: _Deadline) -> None:
        self._backend = backend
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        left = self._deadline.left(timeout, httpcore2.ConnectTimeout)
        stream = self._backend.connect_tcp(host, port, left, local_address, socket_options)
        return _Stream(stream, self._deadline)

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = self._deadline.left(timeout, httpcore2.ReadTimeout)
        idle = self._deadline.idle
        return self._stream.read(max_bytes, left if idle is None else min(idle, left or idle))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            left = self._deadline.left(timeout, httpcore2.WriteTimeout)
            self._stream.write(buffer[start : start + _PIECE], left)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left = self._deadline.left(timeout, httpcore2.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
