"""What goes over the wire when the client's request is made once: what the client itself would send."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx2
import openai
import pytest
from pydantic import SecretStr

from tasks.core.endpoints import HttpOptions
from tasks.upstream.calls.client_pool import ClientPool
from tasks.upstream.calls.transport import Probe, Transport

KEY = "key-0123456789"
BODY = b'{"model": "m"}'
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def _listening(reply: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers every request with `reply`; gives its URL and what it was sent."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        args = (server, reply, heard)
        threading.Thread(target=_listen, args=args, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1", heard


def _listen(server: socket.socket, reply: bytes, heard: list[bytes]) -> None:
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection:
                data = b"-"
                while data:
                    asked = b""
                    while data and not asked.endswith((BODY, b"\r\n0\r\n\r\n")):
                        data = connection.recv(65_536)
                        asked += data
                    if asked:
                        heard.append(asked)
                        connection.sendall(reply)


def _probe() -> Probe:
    return Probe(timeout=5, idle=5, max_bytes=10_000, on_sent=lambda _: None)


def _lines(request: bytes) -> list[str]:
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == BODY
    first, *headers = head.decode().split("\r\n")
    return [first, *sorted(headers, key=str.lower)]


@pytest.mark.parametrize(
    "options",
    [
        HttpOptions(),
        HttpOptions(headers={"X-Team": "a"}, query={"api-version": "2026-01-01"}),
        HttpOptions(auth_header="api-key"),
    ],
    ids=["plain", "headers and query", "own header for the key"],
)
def test_what_is_sent_is_what_the_client_sends(options: HttpOptions) -> None:
    """Line by line, but for the trace id, in whatever order: openai's own post is the measure."""
    with (
        _listening(REPLY) as (url, heard),
        ClientPool({"a": SecretStr(KEY)}, options={"a": options}) as pool,
        pool.lease("a", url) as lease,
    ):
        authorized = not options.omits_authorization
        answer = lease.client.ask(
            "/chat/completions", BODY, "trace", _probe(), authorized=authorized
        )
        assert answer.read() == b"{}"
        answer.close()
        headers: dict[str, str | openai.Omit] = {
            "Content-Type": "application/json",
            "M-TraceId": "trace",
        }
        if not authorized:
            headers["Authorization"] = openai.Omit()
        lease.client.post(
            "/chat/completions", cast_to=object, content=BODY, options={"headers": headers}
        )

    ours, theirs = heard
    assert _lines(ours) == _lines(theirs)
    assert KEY in ours.decode()


def test_a_redirect_is_an_error_and_not_followed() -> None:
    """A key goes to the endpoint that it was given for, and nowhere else."""
    with _listening(REPLY) as (elsewhere, heard):
        away = f"HTTP/1.1 307 Away\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n".encode()
        with (
            _listening(away) as (url, asked),
            ClientPool({"a": SecretStr(KEY)}) as pool,
            pool.lease("a", url) as lease,
            pytest.raises(openai.APIStatusError) as caught,
        ):
            lease.client.ask("/chat/completions", BODY, "trace", _probe())

    assert caught.value.status_code == 307
    assert (len(asked), heard) == (1, [])


def test_a_key_that_is_no_header_is_never_sent() -> None:
    """A line break in a key would begin another header, or another request."""
    with (
        _listening(REPLY) as (url, heard),
        ClientPool({"a": SecretStr("key\r\nX-Other: 1")}) as pool,
        pool.lease("a", url) as lease,
        pytest.raises((openai.APIConnectionError, httpx2.LocalProtocolError)),
    ):
        lease.client.ask("/chat/completions", BODY, "trace", _probe())

    assert heard == []


def test_a_refusal_that_comes_before_the_end_of_a_request_is_read() -> None:
    """A server that refuses by the head and closes has said why; a broken pipe has not."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large"
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_refuse, args=(server, refusal), daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        with (
            ClientPool({"a": SecretStr(KEY)}) as pool,
            pool.lease("a", url) as lease,
            pytest.raises(openai.APIStatusError) as caught,
        ):
            lease.client.ask("/chat/completions", b" " * 2**24, "trace", _probe())

    assert (caught.value.status_code, caught.value.response.text) == (413, "too large")


@pytest.mark.parametrize(
    ("headers", "written"),
    [
        ({"Content-Length": "14"}, BODY),
        ({}, b'1\r\n{\r\n9\r\n"model": \r\n4\r\n"m"}\r\n0\r\n\r\n'),
    ],
    ids=["with a length", "in chunks"],
)
def test_a_body_in_pieces_is_written_as_it_comes(headers: dict[str, str], written: bytes) -> None:
    """A file of many megabytes goes over the wire in pieces, with its length or in chunks."""
    pieces = iter([b"{", b'"model": ', b'"m"}'])
    with (
        _listening(REPLY) as (url, heard),
        httpx2.Client(transport=Transport(url)) as client,
    ):
        assert client.post(url, content=pieces, headers=headers).content == b"{}"

    assert heard[0].partition(b"\r\n\r\n")[2] == written


def _refuse(server: socket.socket, refusal: bytes) -> None:
    connection, _ = server.accept()
    with connection:  # what it has not read when it closes breaks the client's pipe
        connection.recv(100)
        connection.sendall(refusal)
