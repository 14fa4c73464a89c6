"""
One HTTP/1.1 reply, from its first byte to its last, told from what may stand before and behind it.

Parsed by llhttp, the parser of Node.js, in its strict mode: what two readers could understand in two
ways (two lengths, a length and chunks, a bare CR) is an error and not a reply.
"""

from __future__ import annotations

import httptools
import httpx2

__all__ = ["ReplyParser"]

MAX_HEAD = 100 * 1024
"""Bytes of status line and headers, 1xx replies before them included."""

_FINAL = 200  # below are replies that only announce one
_NO_BODY = (204, 304)


class ReplyParser:
    """Feed it bytes until it is `done`; `take` gives the body's as they come."""

    __slots__ = (
        "_parser",
        "_pieces",
        "_size",
        "_until_close",
        "clean",
        "done",
        "headed",
        "headers",
        "keeps",
        "overhead",
        "reason",
        "status",
    )

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._size = 0
        self._until_close = True
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        """As they came, names in their own case."""
        self.headed = False
        """Status and headers are complete."""
        self.done = False
        self.clean = True
        """Nothing came behind the reply."""
        self.keeps = False
        """The server keeps the connection open for another request."""
        self.overhead = 0
        """Bytes that were not the body's."""

    def feed(self, data: bytes) -> None:
        """Take in what was read; b"" is the connection's end.

        Raises:
            httpx2.RemoteProtocolError: it is no reply, or ends in the middle of one.
        """
        if not data:
            self._end()
            return
        before = self._size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._broken("the server changed the protocol unasked")
        except httptools.HttpParserError as error:
            self.clean = False
            if not self.done:  # else it is what came behind the reply
                self._broken(str(error) or type(error).__name__)
        self.overhead += len(data) - self._size + before
        if not self.headed and self.overhead > MAX_HEAD:
            self._broken(f"its headers are larger than {MAX_HEAD} bytes")

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        pieces = self._pieces
        if not pieces:
            return b""
        found = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return found

    # -- what the parser calls ---------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A reply begins; behind the end of one it is not the answer to anything."""
        self.clean = not self.done

    def on_status(self, reason: bytes) -> None:
        """What stands behind the status."""
        self.reason = reason if not self.headed else self.reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those behind a body are passed over."""
        if self.headed:
            return
        self.headers.append((name, value))
        lower = name.lower()
        if lower in {b"content-length", b"transfer-encoding"}:
            self._until_close &= lower == b"transfer-encoding" and b"chunked" not in value.lower()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        status = self._parser.get_status_code()
        if self.headed:
            return
        if status >= _FINAL:
            self.status, self.headed = status, True
            self.keeps = self._parser.should_keep_alive()
            self._until_close &= status not in _NO_BODY

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if not self.done:
            self._size += len(data)
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """The reply, or one that announces it, is whole."""
        if self.headed:
            self.done = True
        else:
            self.headers.clear()
            self._until_close = True

    def _end(self) -> None:
        if self.headed and self._until_close:
            self.done, self.keeps = True, False
            return
        if not self.headed:
            msg = "Server disconnected without sending a response."
            raise httpx2.RemoteProtocolError(msg)
        msg = (
            f"the connection was closed in the middle of the reply, after {self._size} bytes of it"
        )
        raise httpx2.RemoteProtocolError(msg)

    def _broken(self, why: str) -> None:
        msg = f"not a reply of HTTP/1.1: {why}"
        raise httpx2.RemoteProtocolError(msg) from None
