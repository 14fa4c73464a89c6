"""Replies of HTTP/1.1 in any pieces, beside h11, and what is none."""

from __future__ import annotations

import itertools

import h11
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.upstream.calls.http_reply import MAX_HEAD, ReplyParser

BODY = b'{"id": "c", "choices": []}'
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n" + BODY
CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-One: 1\r\nX-One: 2\r\n\r\n"
    b'b;name=value\r\n{"id": "c",\r\n10\r\n "choices": []}\n\r\n0\r\nX-Trailer: t\r\n\r\n'
)
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + BODY
ANNOUNCED = b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + LENGTH
EMPTY = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nretry-after:  3 \r\n\r\n"
GOOD = (LENGTH, CHUNKS, UNTIL_CLOSE, ANNOUNCED, EMPTY, REFUSAL)

Seen = tuple[int, list[tuple[bytes, bytes]], bytes]


def _read(pieces: list[bytes]) -> tuple[ReplyParser, bytes]:
    """The reply that the pieces, and then the end of the connection, add up to."""
    parser, body = ReplyParser(), b""
    for piece in [*pieces, b""]:
        if parser.done:
            break
        parser.feed(piece)
        body += parser.take()
    return parser, body


def _seen(pieces: list[bytes]) -> Seen | None:
    try:
        parser, body = _read(pieces)
    except httpx2.RemoteProtocolError:
        return None
    headers = [(name.lower(), value.strip()) for name, value in parser.headers]
    return (parser.status, headers, body)


def _seen_by_h11(data: bytes) -> Seen | None:
    """What h11 makes of the same bytes."""
    other = h11.Connection(h11.CLIENT)
    other.send(h11.Request(method="POST", target="/", headers=[("Host", "x")]))
    other.send(h11.EndOfMessage())
    found: Seen | None = None
    try:
        other.receive_data(data)
        other.receive_data(b"")
        while True:
            event = other.next_event()
            if isinstance(event, h11.Response):
                found = (event.status_code, list(event.headers), b"")
            elif isinstance(event, h11.Data) and found is not None:
                found = (*found[:2], found[2] + bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return found
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None


@given(st.sampled_from(GOOD), st.lists(st.integers(0, 300), max_size=6))
def test_pieces_change_nothing(reply: bytes, cuts: list[int]) -> None:
    """However the network cuts a reply, it is the one that h11 reads in one piece."""
    places = sorted({min(cut, len(reply)) for cut in cuts} | {0, len(reply)})
    pieces = [reply[a:b] for a, b in itertools.pairwise(places) if b > a]

    assert _seen(pieces) == _seen_by_h11(reply)
    assert _seen(pieces) is not None


@given(st.sampled_from(GOOD), st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_damage_is_never_another_reply(reply: bytes, place: int, noise: bytes) -> None:
    """With bytes overwritten, a body is h11's, or it is an error; nothing else is raised."""
    spoiled = reply[:place] + noise + reply[place + len(noise) :]
    seen, other = _seen([spoiled]), _seen_by_h11(spoiled)

    if seen is not None and other is not None:
        assert seen[0] == other[0]
        assert seen[2] == other[2]


@given(st.binary(max_size=200))
def test_noise_is_an_error(noise: bytes) -> None:
    """What is no HTTP at all ends as a protocol error of the server."""
    with pytest.raises(httpx2.RemoteProtocolError):
        _read([noise])


@pytest.mark.parametrize(
    ("reply", "keeps"),
    [(LENGTH, True), (CHUNKS, True), (UNTIL_CLOSE, False), (EMPTY, False), (REFUSAL, True)],
)
def test_what_a_connection_is_kept_for(reply: bytes, keeps: bool) -> None:
    """Another request goes over a connection that its server keeps, and over no other."""
    parser, _ = _read([reply])

    assert (parser.done, parser.clean, parser.keeps) == (True, True, keeps)


@pytest.mark.parametrize("behind", [LENGTH, b"x", b"HTTP/1.1 408 Request Timeout\r\n"])
@pytest.mark.parametrize("reply", [LENGTH, CHUNKS, EMPTY])
def test_what_stands_behind_a_reply_is_not_of_it(reply: bytes, behind: bytes) -> None:
    """The reply is read as it is, and its connection is known to be of no more use."""
    alone, body = _read([reply])
    parser, same = _read([reply + behind])

    assert (parser.status, parser.headers, same) == (alone.status, alone.headers, body)
    assert not parser.clean


@pytest.mark.parametrize(
    "reply",
    [
        LENGTH[:-1],
        LENGTH[:40],
        CHUNKS[:-30],
        b"",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * (MAX_HEAD + 1),
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_HEAD // 20),
    ],
    ids=range(12),
)
def test_what_is_no_whole_reply(reply: bytes) -> None:
    """Cut off, ambiguous in its length, another protocol, or a head without an end."""
    pieces = [reply[n : n + 1000] for n in range(0, len(reply), 1000)]
    with pytest.raises(httpx2.RemoteProtocolError):
        _read(pieces)
