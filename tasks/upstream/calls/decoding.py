"""
Replies that come compressed although `identity` was asked for, with a bound on what comes out.

A decoder without one makes gigabytes of a few megabytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from tasks.core.errors import ReplyError

__all__ = ["KNOWN", "decoded"]

KNOWN = frozenset({"gzip", "x-gzip", "deflate"})
_EITHER = zlib.MAX_WBITS + 32  # gzip or zlib, told by their first bytes


def decoded(chunks: Iterable[bytes], encoding: str, max_bytes: int) -> Iterator[bytes]:
    """The text's bytes of a body in that content-encoding.

    Raises:
        ReplyError: code bad_reply (an encoding that nobody asked for, or damaged), or too_large.
    """
    if encoding not in KNOWN:
        msg = f"the reply is in content-encoding {encoding[:40]!r}, and identity was asked for"
        raise ReplyError(msg)
    decoder, size = zlib.decompressobj(_EITHER), 0
    for chunk in chunks:
        text = _step(decoder, chunk, max_bytes - size + 1)
        size += len(text)
        if size > max_bytes:
            msg = f"the reply is larger than {max_bytes} bytes"
            raise ReplyError(msg, code="too_large")
        if text:
            yield text
    if not decoder.eof:
        msg = f"the reply's {encoding} ends in the middle"
        raise ReplyError(msg)


def _step(decoder: zlib._Decompress, chunk: bytes, most: int) -> bytes:
    try:
        return decoder.decompress(chunk, most)
    except zlib.error as error:
        msg = f"the compressed reply is damaged: {error}"
        raise ReplyError(msg) from None
