"""
One connection to one endpoint: bytes out and in, each wait with an end.

Sockets never block: a read is one wait for the first byte and one system call, a write one system
call, and not several each, every one of which hands Python's lock on.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
import time
from typing import Protocol

import httpcore2
import httpx2

__all__ = ["Connection"]

_READ = 65_536
_WAIT_MOST = 86_400.0
_WANTS_READ = (BlockingIOError, ssl.SSLWantReadError)


class _Wire(Protocol):
    # `read` and `write` raise TimeoutError after `seconds`; `write` tells how much it wrote.
    def read(self, seconds: float) -> bytes: ...
    def write(self, data: memoryview, seconds: float) -> int: ...
    def is_readable(self) -> bool: ...
    def close(self) -> None: ...


class Connection:
    """An open connection, used by one call at a time."""

    __slots__ = ("_wire", "since")

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        # TLS to an endpoint within the TLS to a proxy is no socket.
        nested = isinstance(stream.get_extra_info("ssl_object"), ssl.SSLObject)
        self._wire: _Wire = (
            _StreamWire(stream) if nested else _SocketWire(stream.get_extra_info("socket"))
        )
        self.since = 0.0
        """When it became idle, on time.monotonic()."""

    def is_fresh(self, keepalive: float) -> bool:
        """Whether it can carry another request: not idle for too long, not closed, nothing to read.

        What is left behind a reply would be taken for the answer to the next question.
        """
        return time.monotonic() - self.since < keepalive and not self._wire.is_readable()

    def read(self, seconds: float) -> bytes:
        """What has come, waiting up to `seconds` for it; b"" is the end.

        Raises:
            httpx2.ReadTimeout, httpx2.ReadError: nothing came, or the connection broke.
        """
        if seconds <= 0:
            msg = "the attempt did not end in time"
            raise httpx2.ReadTimeout(msg)
        try:
            return self._wire.read(min(seconds, _WAIT_MOST))
        except (TimeoutError, httpcore2.ReadTimeout) as error:
            msg = f"nothing came for {seconds:.3g} s"
            raise httpx2.ReadTimeout(msg) from error
        except (OSError, httpcore2.NetworkError) as error:
            raise httpx2.ReadError(str(error)) from error

    def write(self, data: bytes, until: float) -> None:
        """Write all of it, at the latest at `until`, on time.monotonic().

        Raises:
            httpx2.WriteTimeout, httpx2.WriteError: it could not be written.
        """
        rest = memoryview(data)
        try:
            while rest:
                left = min(until - time.monotonic(), _WAIT_MOST)
                rest = rest[self._wire.write(rest, left) :]
        except (TimeoutError, httpcore2.WriteTimeout) as error:
            msg = "the request was not written in time"
            raise httpx2.WriteTimeout(msg) from error
        except (OSError, httpcore2.NetworkError) as error:
            raise httpx2.WriteError(str(error)) from error

    def close(self) -> None:
        """Close it, whatever is left."""
        self._wire.close()


class _SocketWire:
    """A socket, or one with TLS."""

    __slots__ = ("_poll", "_secure", "_socket")

    def __init__(self, connected: socket.socket) -> None:
        connected.settimeout(0)
        self._socket = connected
        self._secure = connected if isinstance(connected, ssl.SSLSocket) else None
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)

    def read(self, seconds: float) -> bytes:
        until = time.monotonic() + seconds
        while True:
            if self._secure is None or not self._secure.pending():
                self._await(seconds)
            try:
                return self._socket.recv(_READ)
            except _WANTS_READ:  # a part of a TLS record; they may dribble
                seconds = until - time.monotonic()

    def write(self, data: memoryview, seconds: float) -> int:
        if seconds <= 0:
            raise TimeoutError
        try:
            return self._socket.send(data)
        except ssl.SSLWantReadError:
            self._await(seconds)
        except (BlockingIOError, ssl.SSLWantWriteError):
            waiter = select.poll()
            waiter.register(self._socket, select.POLLOUT)
            if not waiter.poll(math.ceil(seconds * 1000)):
                raise TimeoutError from None
        return 0

    def is_readable(self) -> bool:
        return bool(self._poll.poll(0))

    def close(self) -> None:
        self._socket.close()

    def _await(self, seconds: float) -> None:
        if seconds <= 0 or not self._poll.poll(math.ceil(seconds * 1000)):
            raise TimeoutError


class _StreamWire:
    """What is no socket: TLS to an endpoint within TLS to a proxy."""

    __slots__ = ("_stream",)

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, seconds: float) -> bytes:
        return self._stream.read(_READ, seconds)

    def write(self, data: memoryview, seconds: float) -> int:
        piece = bytes(data[:_READ])
        self._stream.write(piece, max(seconds, 0.001))
        return len(piece)

    def is_readable(self) -> bool:
        return bool(self._stream.get_extra_info("is_readable"))

    def close(self) -> None:
        self._stream.close()
