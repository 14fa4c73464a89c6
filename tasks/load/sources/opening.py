"""
Files of text, whatever their encoding: UTF-8, UTF-16, UTF-32, with a byte order mark or without,
packed by gzip or not.

Bytes that are no text become lone surrogates. Validation refuses a row with one, so a damaged row
costs itself and not the file, and nothing is silently replaced.
"""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO, cast

__all__ = ["MAX_LINE", "bounded_lines", "encoding_of", "open_text"]

MAX_LINE = 16 * 1024 * 1024
"""Characters; a longer line is rejected rather than held in memory."""

_LONE = "tasks.load.sources.lone"
_MARKS = (
    # UTF-32's mark starts with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _lone(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", error.end


codecs.register_error(_LONE, _lone)


def encoding_of(head: bytes) -> str:
    """By the first four bytes of a text that begins with two ASCII characters, as data files do."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    nul = tuple(byte == 0 for byte in head[:4])
    if nul in {(False, True, False, True), (False, True)}:
        return "utf-16-le"
    return "utf-16-be" if nul in {(True, False, True, False), (True, False)} else "utf-8-sig"


@contextmanager
def open_text(path: Path, newline: str) -> Iterator[TextIO]:
    """The file as text; `newline` as in `open`.

    Reading raises OSError, EOFError or zlib.error where the disk or gzip do.
    """
    packed = path.suffix.lower() == ".gz"
    with cast("IO[bytes]", gzip.open(path, "rb") if packed else path.open("rb")) as binary:
        encoding = encoding_of(binary.read(4))
        binary.seek(0)
        yield io.TextIOWrapper(binary, encoding=encoding, errors=_LONE, newline=newline)


def bounded_lines(file: TextIO) -> Iterator[tuple[str, bool]]:
    """Each line and whether it is whole; of a line longer than `MAX_LINE` only the start is kept."""
    while line := file.readline(MAX_LINE):
        whole = len(line) < MAX_LINE or line.endswith("\n")
        rest = "" if whole else file.readline(MAX_LINE)
        while rest and not rest.endswith("\n"):
            rest = file.readline(MAX_LINE)
        yield line, whole
