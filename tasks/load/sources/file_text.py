"""Bytes of one reviewed file -> its text, and names of files -> text that any store holds."""

from __future__ import annotations

import os
from typing import NamedTuple

from tasks.load.sources.opening import encoding_of

__all__ = ["FileText", "decode_file", "file_id", "path_text"]

_MAX_ID = 480


class FileText(NamedTuple):
    """A file's text."""

    text: str
    replaced: bool
    """Some bytes were no text and are U+FFFD now: an old encoding must not keep code from review."""


def decode_file(data: bytes) -> FileText:
    """UTF-8, or what a byte order mark says."""
    encoding = encoding_of(data[:4])
    # Without a mark a NUL means binary rather than UTF-16.
    name = encoding if encoding in {"utf-16", "utf-32"} else "utf-8-sig"
    try:
        return FileText(data.decode(name), replaced=False)
    except UnicodeDecodeError:
        return FileText(data.decode(name, "replace"), replaced=True)


def path_text(path: bytes | str) -> str:
    """A file name as text, slashes between its parts; bytes that are none become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def file_id(path: bytes | str) -> str:
    """A file name fit for an input_id: on one line, distinct for distinct names, bounded."""
    name = os.fsencode(path).decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return shown if len(shown) <= _MAX_ID else f"...{shown[3 - _MAX_ID :]}"
