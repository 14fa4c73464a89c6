"""A server on raw sockets, whose every byte an attack decides."""

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Pieces", "asked", "completion", "http", "serving"]

Pieces = Callable[[bytes], Iterable[bytes]]
"""What a server sends for one request, piece by piece."""


@contextmanager
def serving(answer: Pieces, gap: float = 0.0) -> Iterator[str]:
    """A server on loopback that answers every request by `answer`; gives its base_url."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()
        threading.Thread(target=_accept, args=(server, answer, gap, ended), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        ended.set()
        server.shutdown(socket.SHUT_RDWR)  # closing it alone would leave `accept` waiting


def _accept(server: socket.socket, answer: Pieces, gap: float, ended: threading.Event) -> None:
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            arguments = (connection, answer, gap, ended)
            threading.Thread(target=_talk, args=arguments, daemon=True).start()


def _talk(connection: socket.socket, answer: Pieces, gap: float, ended: threading.Event) -> None:
    with suppress(OSError), connection:
        while (heard := _request(connection)) is not None:
            for piece in answer(heard):
                connection.sendall(piece)
                if gap and ended.wait(gap):
                    return


def _request(connection: socket.socket) -> bytes | None:
    heard = b""
    for _ in itertools.count():
        head, end, body = heard.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if end and len(body) >= int(length[1] if length else 0):
            return heard
        piece = connection.recv(65_536)
        if not piece:
            return None
        heard += piece
    return None


def asked(heard: bytes) -> str:
    """The last message of a request."""
    text: str = json.loads(heard.partition(b"\r\n\r\n")[2])["messages"][-1]["content"]
    return text


def completion(content: Any, **more: Any) -> bytes:
    """A chat completion, as JSON."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"id": "x", "model": "m", "choices": [choice], **more}).encode()


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole reply with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body
