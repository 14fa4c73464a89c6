"""
Requests to one endpoint and their replies, on connections that all its keys share.

httpx2's own pool looks at every connection for every request, with a system call for each idle one.
Here a call takes the connection that was used last, which is a pop from a stack, and gives it back
when its reply has been read. Keys that take turns do not each open connections of their own: their
number is that of the calls in flight, whatever the keys.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain

import httpx2

from tasks.core.errors import ReplyError
from tasks.upstream.calls.connection import Connection
from tasks.upstream.calls.decoding import KNOWN, decoded
from tasks.upstream.calls.dialing import Route
from tasks.upstream.calls.http_reply import MAX_HEAD, ReplyParser

__all__ = ["EVENTS", "Answer", "Probe", "Transport", "watched"]

EVENTS = "text/event-stream"
"""The content type of a stream."""

_local = threading.local()

MAX_UNWATCHED = 2**26
"""Bytes of a reply that nobody bounds otherwise."""

_MAX_OVERHEAD = 8
"""Bytes around each byte of a body: more than chunks of one byte have."""

_DAY = 86_400.0


class Probe:
    """What really happened on the wire in one attempt, and how far it may go. Times in seconds.

    `on_sent` is called with the instant, on time.monotonic(), at which the last byte was written.
    """

    __slots__ = ("begun", "deadline", "idle", "max_bytes", "on_sent", "reached", "started")

    def __init__(
        self, *, timeout: float, idle: float, max_bytes: int, on_sent: Callable[[float], None]
    ) -> None:
        self.started = time.monotonic()
        """From the request on: when its first byte was written."""
        self.deadline = self.started + timeout
        self.idle = idle
        self.max_bytes = max_bytes
        self.begun = False
        """The answer itself has begun: from here on `idle` bounds each silence."""
        self.reached = False
        """A byte of a request was written: from here on it may have cost money and quota."""
        self.on_sent = on_sent

    def left(self) -> float:
        """Seconds that the next read may wait; until the answer begins, all: a model thinks."""
        left = self.deadline - time.monotonic()
        return min(left, self.idle) if self.begun else left


@contextmanager
def watched(probe: Probe) -> Iterator[Probe]:
    """Requests of this thread through httpx2 report to `probe`; it has no way to pass it along."""
    _local.probe = probe
    try:
        yield probe
    finally:
        _local.probe = None


class Answer:
    """One reply while it comes: its head is there, its body is read as bytes, bounded in time and size.

    Iterated once. Raises httpx2.TransportError when the connection ends before it, and ReplyError
    (too_large, bad_reply) when it can be of no use.
    """

    __slots__ = ("_connection", "_done", "_encoding", "_is_stream", "_parser", "_probe", "headers")

    def __init__(
        self,
        connection: Connection,
        parser: ReplyParser,
        probe: Probe,
        done: Callable[[Connection, ReplyParser], None],
    ) -> None:
        self._connection = connection
        self._parser = parser
        self._probe = probe
        self._done: Callable[[Connection, ReplyParser], None] | None = done
        self.headers = _named(parser.headers)
        """Names in lower case."""
        self._is_stream = self.headers.get("content-type", "").startswith(EVENTS)
        self._encoding = self._take_encoding()

    @property
    def status(self) -> int:
        """HTTP's."""
        return self._parser.status

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """As they came, but for the encoding that iterating undoes."""
        hidden = set() if "content-encoding" in self.headers else {b"content-encoding"}
        return [pair for pair in self._parser.headers if pair[0].lower() not in hidden]

    def __iter__(self) -> Iterator[bytes]:
        if not self._encoding:
            return self._pieces()
        return decoded(self._pieces(), self._encoding, self._probe.max_bytes)

    def read(self) -> bytes:
        """All of the body."""
        return b"".join(self)

    def close(self) -> None:
        """Give the connection back; one whose reply was not read to its end is closed."""
        if self._done is not None:
            self._done(self._connection, self._parser)
            self._done = None

    def _pieces(self) -> Iterator[bytes]:
        parser, probe, size = self._parser, self._probe, 0
        while True:
            piece = parser.take()
            if piece:
                size += len(piece)
                self._check(size)
                # Of a stream, who puts it together knows; blank bytes keep a connection alive.
                probe.begun |= not self._is_stream and bool(piece.strip())
                yield piece
            if parser.done:
                return
            parser.feed(self._connection.read(probe.left()))

    def _check(self, size: int) -> None:
        most = self._probe.max_bytes
        if size > most or self._parser.overhead > _MAX_OVERHEAD * most + MAX_HEAD:
            msg = f"the reply is larger than {most} bytes"
            raise ReplyError(msg, code="too_large")

    def _take_encoding(self) -> str:
        """The content-encoding, which is ours to undo; "" if there is none."""
        encoding = self.headers.get("content-encoding", "").strip().lower()
        # A refusal says what it has to by its status: one in an unknown encoding is left unread.
        if not encoding or (self.status >= httpx2.codes.BAD_REQUEST and encoding not in KNOWN):
            return ""
        del self.headers["content-encoding"]
        return "" if encoding == "identity" else encoding


class Transport(httpx2.BaseTransport):
    """Transport to one endpoint. Closing it drops idle connections; those in use end by themselves."""

    def __init__(
        self, base_url: str, *, keepalive: float = 75.0, ca_file: str | None = None
    ) -> None:
        self.route = Route(base_url, ca_file)
        # Servers close idle connections after 5 to 75 s; one that was closed is noticed before use.
        self._keepalive = keepalive
        self._idle: deque[Connection] = deque()
        self._closed = False
        self._count_lock = threading.Lock()
        self.opened = 0
        """Connections opened so far."""

    def send(
        self, head: bytes, body: bytes | Iterable[bytes], probe: Probe, connect: float = _DAY
    ) -> Answer:
        """Send on the connection used last, or on a new one; `head` has its blank line.

        A body in pieces is written as it comes. `connect` is what each step of a new connection may take, in seconds.

        Raises:
            httpx2.TransportError: no connection, not sent whole, or no reply.
        """
        connection = self._take(probe, connect)
        try:
            _write(connection, head, body, probe)
            parser = ReplyParser()
            while not parser.headed:
                parser.feed(connection.read(probe.left()))
        except BaseException:
            connection.close()
            raise
        return Answer(connection, parser, probe, self._give_back)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """What httpx2 calls."""
        timeouts = request.extensions.get("timeout", {})
        connect, wait = timeouts.get("connect") or _DAY, timeouts.get("read") or _DAY
        probe: Probe = getattr(_local, "probe", None) or Probe(
            timeout=wait, idle=wait, max_bytes=MAX_UNWATCHED, on_sent=lambda _: None
        )
        head = self.route.head(request) + b"\r\n"
        answer = self.send(head, _body_of(request), probe, connect)
        return httpx2.Response(answer.status, headers=answer.raw_headers, stream=_Body(answer))

    def drop_idle(self) -> None:
        """Close the connections that no call is using."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def close(self) -> None:
        """Close idle connections now, and those in use when their replies have been read."""
        self._closed = True
        self.drop_idle()

    def _take(self, probe: Probe, connect: float) -> Connection:
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.is_fresh(self._keepalive):
                    return connection
                connection.close()

        def left() -> float:
            seconds = min(probe.left(), connect)
            if seconds <= 0:
                msg = "the attempt did not end in time"
                raise httpx2.ConnectTimeout(msg)
            return seconds

        return Connection(self.route.connect(left, self._count))

    def _count(self) -> None:
        with self._count_lock:
            self.opened += 1

    def _give_back(self, connection: Connection, parser: ReplyParser) -> None:
        if self._closed or not (parser.done and parser.keeps and parser.clean):
            connection.close()
            return
        connection.since = time.monotonic()
        self._idle.append(connection)


class _Body(httpx2.SyncByteStream):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        self._answer.close()


def _body_of(request: httpx2.Request) -> Iterable[bytes]:
    """A request's body as it goes over the wire: a file is not read into memory."""
    stream = request.stream
    if not isinstance(stream, httpx2.SyncByteStream):
        msg = "a synchronous client got an asynchronous request"
        raise TypeError(msg)
    return _chunked(stream) if "transfer-encoding" in request.headers else stream


def _chunked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    yield from (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    yield b"0\r\n\r\n"


def _write(
    connection: Connection, head: bytes, body: bytes | Iterable[bytes], probe: Probe
) -> None:
    pieces = [head + body] if isinstance(body, bytes) else chain([head], body)
    probe.started = time.monotonic()
    probe.reached = True
    try:
        for piece in pieces:
            connection.write(piece, probe.deadline)
    except httpx2.WriteError:
        return  # a server may refuse before it has read all, and close; its reply says why
    probe.on_sent(time.monotonic())


def _named(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """By name in lower case; several of one name as one, with commas."""
    found: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "replace")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found
