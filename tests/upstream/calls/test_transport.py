"""Connections against servers that leave bytes behind, never end, or send far more than they say."""

from __future__ import annotations

import gzip
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx2
import pytest

from tasks.core.errors import ReplyError
from tasks.upstream.calls.streaming import assemble
from tasks.upstream.calls.transport import Probe, Transport, watched

Talk = Callable[[socket.socket, int], None]
"""What a server does on one accepted connection, by its number."""


@contextmanager
def _serving(talk: Talk) -> Iterator[str]:
    """A server on loopback; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server, talk), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def _accept(server: socket.socket, talk: Talk) -> None:
    with suppress(OSError):
        for number in itertools.count():
            connection, _ = server.accept()
            threading.Thread(target=_talk, args=(talk, connection, number), daemon=True).start()


def _talk(talk: Talk, connection: socket.socket, number: int) -> None:
    with suppress(OSError), connection:
        talk(connection, number)


def _reply(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def _hears(connection: socket.socket) -> bool:
    """Reads one request to its end, which may come in several pieces; False: the client is gone."""
    heard = b""
    while not heard.endswith(b"{}"):
        piece = connection.recv(65_536)
        if not piece:
            return False
        heard += piece
    return True


def _ask(transport: Transport, url: str, *, timeout: float = 10.0, most: int = 2**20) -> bytes:
    """One request as an attempt sends it; timeouts of single reads are longer than the attempt's."""
    probe = Probe(timeout=timeout, idle=60.0, max_bytes=most, on_sent=lambda _: None)
    # The client is not closed: it would close the transport.
    client = httpx2.Client(transport=transport, timeout=60.0)
    with watched(probe):
        request = client.build_request("POST", url, content=b"{}")
        response = client.send(request, stream=True)
    try:
        return response.read()
    finally:
        response.close()


def _twice(connection: socket.socket, number: int) -> None:
    count = itertools.count()
    while _hears(connection):
        body = b"answer %d of connection %d" % (next(count), number)
        connection.sendall(_reply(body) * 2)


def test_a_connection_with_bytes_behind_a_reply_is_not_used_again() -> None:
    """An answer that is sent twice is not the answer to the next question."""
    with _serving(_twice) as url:
        transport = Transport(url)
        answers = [_ask(transport, url) for _ in range(3)]
        transport.close()

    assert answers == [b"answer 0 of connection %d" % number for number in range(3)]


def _once(connection: socket.socket, number: int) -> None:
    while _hears(connection):
        connection.sendall(_reply(b"connection %d" % number))


def test_a_connection_that_was_read_to_its_end_is_used_again() -> None:
    """Nothing left behind the reply: one connection serves all questions."""
    with _serving(_once) as url:
        transport = Transport(url)
        answers = {_ask(transport, url) for _ in range(3)}
        transport.close()

    assert answers == {b"connection 0"}
    assert transport.opened == 1


def _dribble(pieces: Iterator[bytes], gap: float) -> Talk:
    def talk(connection: socket.socket, number: int) -> None:
        del number
        connection.recv(65_536)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(gap)  # the server's pace is the subject

    return talk


def _header_bytes() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX-Slow: "
    yield from itertools.repeat(b"a", 40)


def _continues() -> Iterator[bytes]:
    yield from itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n", 40)


def _body_bytes() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    yield from itertools.repeat(b"a", 40)


@pytest.mark.parametrize("pieces", [_header_bytes, _continues, _body_bytes])
def test_an_attempt_ends_in_time_whatever_dribbles(pieces: Callable[[], Iterator[bytes]]) -> None:
    """Header bytes, 1xx replies and body bytes that keep coming do not prolong an attempt."""
    with _serving(_dribble(pieces(), 0.1)) as url:
        transport = Transport(url)
        begun = time.monotonic()
        with pytest.raises(httpx2.ReadTimeout):
            _ask(transport, url, timeout=0.5)
        took = time.monotonic() - begun
        transport.close()

    assert took < 2.0, "40 pieces take the server 4 s"


def _silent(connection: socket.socket, number: int) -> None:
    del number
    while connection.recv(65_536):
        continue


def test_a_tls_handshake_ends_with_its_attempt() -> None:
    """A server that accepts and never answers the handshake takes the attempt's time, not more."""
    with _serving(_silent) as url:
        secure = url.replace("http:", "https:")
        transport = Transport(secure)
        with pytest.raises(httpx2.ConnectTimeout):
            _ask(transport, secure, timeout=0.5)
        transport.close()


def _sending(data: bytes) -> Talk:
    def talk(connection: socket.socket, number: int) -> None:
        del number
        while _hears(connection):
            connection.sendall(data)

    return talk


def test_a_compressed_reply_is_bounded_by_what_comes_out() -> None:
    """60 KB that unpack to 64 MB are too large, and 2 MB of them are never in memory."""
    bomb = gzip.compress(b" " * 2**26)
    with _serving(_sending(_reply(bomb, "Content-Encoding: gzip"))) as url:
        transport = Transport(url)
        with pytest.raises(ReplyError) as caught:
            _ask(transport, url)
        transport.close()

    assert caught.value.code == "too_large"


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_a_small_compressed_reply_is_read(encoding: str) -> None:
    """A server that compresses unasked is served all the same."""
    data = _reply(gzip.compress(b'{"a": 1}'), f"Content-Encoding: {encoding}")
    with _serving(_sending(data)) as url:
        transport = Transport(url)
        answer = _ask(transport, url)
        transport.close()

    assert answer == b'{"a": 1}'


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"anything", "br"), (b"not gzip", "gzip"), (gzip.compress(b"cut" * 99)[:-9], "gzip")],
    ids=["unknown", "not one", "cut off"],
)
def test_an_encoding_that_cannot_be_undone_is_a_bad_reply(body: bytes, encoding: str) -> None:
    """Unknown encodings, damage and a compressed body that breaks off are marked as such."""
    with _serving(_sending(_reply(body, f"Content-Encoding: {encoding}"))) as url:
        transport = Transport(url)
        with pytest.raises(ReplyError) as caught:
            _ask(transport, url)
        transport.close()

    assert caught.value.code == "bad_reply"


def _silent_after(*pieces: bytes) -> Talk:
    def talk(connection: socket.socket, number: int) -> None:
        del number
        connection.recv(65_536)
        for piece in pieces:
            connection.sendall(piece)
        while connection.recv(65_536):  # until the client has had enough
            continue

    return talk


_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
_ROLE = b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}\n\n'
_TEXT = b'data: {"choices": [{"index": 0, "delta": {"content": "{"}}]}\n\n'


@pytest.mark.parametrize(
    ("pieces", "timeout", "idle"),
    [
        ((_STREAM,), 0.6, 0.1),
        ((_STREAM, _ROLE), 0.6, 0.1),
        ((_STREAM, _ROLE, _TEXT), 30.0, 0.6),
    ],
)
def test_a_stream_that_falls_silent(pieces: tuple[bytes, ...], timeout: float, idle: float) -> None:
    """Before the first text a model thinks, until the attempt's end; after it, `idle` is the bound."""
    probe = Probe(timeout=timeout, idle=idle, max_bytes=2**20, on_sent=lambda _: None)
    with _serving(_silent_after(*pieces)) as url:
        transport = Transport(url)
        client = httpx2.Client(transport=transport, timeout=60.0)
        begun = time.monotonic()
        with watched(probe):
            response = client.send(client.build_request("POST", url, content=b"{}"), stream=True)
        with pytest.raises(httpx2.ReadTimeout):
            assemble(response.iter_bytes(), probe)
        took = time.monotonic() - begun
        response.close()
        transport.close()

    assert 0.5 < took < 5.0
