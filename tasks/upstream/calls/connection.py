"""
One connection to one endpoint: bytes out and in, each wait with an end.

A write is one system call, and so is a read without TLS, with its wait; every further one would hand
Python's lock on.
"""

from __future__ import annotations

import math
import select
import socket
import ssl
import struct
import time
from typing import Protocol

import httpcore2
import httpx2

from tasks.upstream.short_calls import is_readable

__all__ = ["Connection"]

_READ = 65_536
_WAIT_MOST = 86_400.0
_TIMEVAL = struct.Struct("@ll")
_SHORTEST = 1000
"""Microseconds; none at all would be a wait without an end."""


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
        self._wire: _Wire = _StreamWire(stream) if nested else _wire_of(stream)
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


def _wire_of(stream: httpcore2.NetworkStream) -> _Wire:
    connected: socket.socket = stream.get_extra_info("socket")
    return _SecureWire(connected) if isinstance(connected, ssl.SSLSocket) else _PlainWire(connected)


class _PlainWire:
    """A socket without TLS. Its reads wait in the kernel, so that each is one system call."""

    __slots__ = ("_socket",)

    def __init__(self, connected: socket.socket) -> None:
        connected.settimeout(None)
        self._socket = connected

    def read(self, seconds: float) -> bytes:
        whole = max(_SHORTEST, math.ceil(seconds * 1_000_000))
        wait = _TIMEVAL.pack(*divmod(whole, 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        try:
            return self._socket.recv(_READ)
        except BlockingIOError:
            raise TimeoutError from None

    def write(self, data: memoryview, seconds: float) -> int:
        if seconds <= 0:
            raise TimeoutError
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            _await(self._socket, select.POLLOUT, seconds)
        return 0

    def is_readable(self) -> bool:
        return is_readable(self._socket.fileno())

    def close(self) -> None:
        self._socket.close()


class _SecureWire:
    """A socket with TLS, which never blocks: a part of a record is no reply."""

    __slots__ = ("_socket",)

    def __init__(self, connected: ssl.SSLSocket) -> None:
        connected.settimeout(0)
        self._socket = connected

    def read(self, seconds: float) -> bytes:
        until = time.monotonic() + seconds
        while True:
            if not self._socket.pending():
                _await(self._socket, select.POLLIN, seconds)
            try:
                return self._socket.recv(_READ)
            except ssl.SSLWantReadError:  # they may dribble
                seconds = until - time.monotonic()

    def write(self, data: memoryview, seconds: float) -> int:
        if seconds <= 0:
            raise TimeoutError
        try:
            return self._socket.send(data)
        except ssl.SSLWantReadError:
            _await(self._socket, select.POLLIN, seconds)
        except ssl.SSLWantWriteError:
            _await(self._socket, select.POLLOUT, seconds)
        return 0

    def is_readable(self) -> bool:
        return is_readable(self._socket.fileno())

    def close(self) -> None:
        self._socket.close()


def _await(waited: socket.socket, event: int, seconds: float) -> None:
    poll = select.poll()
    poll.register(waited, event)
    if seconds <= 0 or not poll.poll(math.ceil(seconds * 1000)):
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
