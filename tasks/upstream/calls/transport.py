"""
Connections of one endpoint, shared by all keys: as many as calls were ever in flight at once.

httpx2's own pool looks at every connection for every request, with a system call for each idle one.
Here a call takes the connection that was used last, which is a pop from a stack, and gives it back
when its reply has been read. Keys that take turns do not each open connections of their own: their
number is that of the calls in flight, whatever the keys.

Proxies are those of the environment: HTTPS_PROXY for https, HTTP_PROXY for http, ALL_PROXY for both,
with user and password in the URL where it asks for them, and NO_PROXY for hosts that are reached
without. Certificates are those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR, and the app_id's
own ca_file.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx2

from tasks.core.errors import ConfigError, ReplyError
from tasks.upstream.calls.connection import Connection
from tasks.upstream.calls.decoding import KNOWN, decoded

__all__ = ["EVENTS", "Probe", "Transport", "check_proxies", "watched"]

EVENTS = "text/event-stream"
"""The content type of a stream."""

_local = threading.local()

MAX_UNWATCHED = 2**26
"""Bytes of a compressed reply that nobody bounds otherwise."""


class Probe:
    """What really happened on the wire in one attempt, and how far it may go. Times in seconds.

    `on_sent` is called with the instant, on time.monotonic(), at which the last byte was written.
    """

    __slots__ = (
        "_on_sent",
        "_tunnel",
        "begun",
        "deadline",
        "idle",
        "max_bytes",
        "opened",
        "reached",
        "started",
    )

    def __init__(
        self, *, timeout: float, idle: float, max_bytes: int, on_sent: Callable[[float], None]
    ) -> None:
        self.deadline = time.monotonic() + timeout
        self.idle = idle
        self.max_bytes = max_bytes
        self.opened = 0
        self.begun = False
        """The answer itself has begun: from here on `idle` bounds each silence."""
        self.reached = False
        """A byte of a request was written: from here on it may have cost money and quota."""
        self.started = time.monotonic()
        self._on_sent = on_sent
        self._tunnel = False

    def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Trace callback of httpcore. What asks a proxy for a tunnel has not reached the endpoint."""
        if event == "http11.send_request_headers.started":
            self._tunnel = info["request"].method == b"CONNECT"
            self.reached = not self._tunnel
            self.started = time.monotonic()
        elif event == "http11.send_request_body.complete" and not self._tunnel:
            self._on_sent(time.monotonic())
        elif event == "connection.connect_tcp.complete":
            self.opened += 1


@contextmanager
def watched(probe: Probe) -> Iterator[Probe]:
    """Requests of this thread report to `probe`; the openai client has no way to pass it along."""
    _local.probe = probe
    try:
        yield probe
    finally:
        _local.probe = None


class Transport(httpx2.BaseTransport):
    """Transport to one endpoint. Closing it drops idle connections; those in use end by themselves."""

    def __init__(
        self, base_url: str, *, keepalive: float = 75.0, ca_file: str | None = None
    ) -> None:
        self._proxy = _proxy(httpx2.URL(base_url))
        self._ca_file = ca_file
        # Servers close idle connections after 5 to 75 s; one that was closed is noticed before use.
        self._keepalive = keepalive
        self._idle: deque[Connection] = deque()
        self._closed = False
        self._count_lock = threading.Lock()
        self.opened = 0
        """Connections opened so far."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send on the connection used last, or on a new one."""
        probe: Probe | None = getattr(_local, "probe", None)
        if probe is not None:
            request.extensions["trace"] = probe
        connection = self._take()
        connection.until = None if probe is None else probe.deadline
        connection.idle = None
        try:
            response = connection.handle_request(request)
        except BaseException:
            connection.close()
            raise
        finally:
            self._count(probe)
        encoding = _take_encoding(response)
        give_back = partial(self._give_back, connection)
        response.stream = _Body(
            response, request, probe, connection, done=give_back, encoding=encoding
        )
        return response

    def drop_idle(self) -> None:
        """Close the connections that no call is using."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def close(self) -> None:
        """Close idle connections now, and those in use when their replies have been read."""
        self._closed = True
        self.drop_idle()

    def _count(self, probe: Probe | None) -> None:
        if probe is not None and probe.opened:
            with self._count_lock:
                self.opened += probe.opened
                probe.opened = 0

    def _take(self) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return Connection(
                verify=_ssl_context(self._ca_file), keepalive=self._keepalive, proxy=self._proxy
            )

    def _give_back(self, connection: Connection) -> None:
        if self._closed or not connection.is_clean():
            connection.close()
        else:
            self._idle.append(connection)


class _Body(httpx2.SyncByteStream):
    """A reply's bytes, bounded in time and size."""

    def __init__(
        self,
        response: httpx2.Response,
        request: httpx2.Request,
        probe: Probe | None,
        connection: Connection,
        *,
        done: Callable[[], None],
        encoding: str,
    ) -> None:
        stream = response.stream
        if not isinstance(stream, httpx2.SyncByteStream):
            msg = "a synchronous client got an asynchronous reply"
            raise TypeError(msg)
        self._stream = stream
        self._probe = probe
        self._connection = connection
        self._is_stream = response.headers.get("content-type", "").startswith(EVENTS)
        self._done: Callable[[], None] | None = done
        self._encoding = encoding
        if probe is not None:
            # Until the answer begins its silence may take the whole attempt: a model thinks.
            request.extensions["timeout"]["read"] = max(probe.deadline - time.monotonic(), 0.001)

    def __iter__(self) -> Iterator[bytes]:
        most = MAX_UNWATCHED if self._probe is None else self._probe.max_bytes
        chunks = self._bounded() if self._probe is not None else iter(self._stream)
        yield from decoded(chunks, self._encoding, most) if self._encoding else chunks

    def _bounded(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if self._probe is not None:
                self._check(size, self._probe)
                # Of a stream, who puts it together knows; blank bytes keep a connection alive.
                self._probe.begun |= not self._is_stream and bool(chunk.strip())
            yield chunk
            if self._probe is not None and self._probe.begun:
                self._connection.idle = self._probe.idle

    def _check(self, size: int, probe: Probe) -> None:
        if size > probe.max_bytes:
            msg = f"the reply is larger than {probe.max_bytes} bytes"
            raise ReplyError(msg, code="too_large")
        if time.monotonic() > probe.deadline:
            msg = "the reply did not end in time"
            raise httpx2.ReadTimeout(msg)

    def close(self) -> None:
        """Give the connection back; one whose reply was not read to its end is closed by httpcore."""
        self._stream.close()
        if self._done is not None:
            self._done()
            self._done = None


def _take_encoding(response: httpx2.Response) -> str:
    """The reply's content-encoding, which is ours to undo and no longer httpx2's; "" if it has none."""
    encoding: str = response.headers.pop("content-encoding", "").strip().lower()
    # A refusal says what it has to by its status: one in an unknown encoding is left unread.
    unread = response.status_code >= httpx2.codes.BAD_REQUEST and encoding not in KNOWN
    return "" if unread or encoding == "identity" else encoding


@cache
def _ssl_context(ca_file: str | None) -> ssl.SSLContext:
    # Loading the certificates takes 20 ms, so once per process and not once per connection.
    context = httpx2.create_ssl_context()
    if ca_file is not None:
        context.load_verify_locations(Path(ca_file).expanduser())
    return context


def check_proxies() -> None:
    """Check that a SOCKS proxy of the environment can be used; HTTP proxies always can.

    Raises:
        ConfigError: the package that speaks SOCKS is not installed.
    """
    if find_spec("socksio") is not None:
        return
    for scheme, proxy in getproxies().items():
        if scheme != "no" and proxy.lower().startswith("socks"):
            msg = (
                f"{scheme.upper()}_PROXY names a SOCKS proxy, which needs a package more: pip install "
                "socksio; or set HTTPS_PROXY to an HTTP proxy, or unset it"
            )
            raise ConfigError(msg)


def _proxy(url: httpx2.URL) -> str | None:
    """The proxy of the environment (HTTPS_PROXY, NO_PROXY), which httpx2 ignores for own transports."""
    if proxy_bypass(url.host):
        return None
    proxies = getproxies()
    return proxies.get(url.scheme) or proxies.get("all")
