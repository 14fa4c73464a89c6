"""JSON Lines and JSON."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from tasks.core.errors import RowError, SourceError

__all__ = ["NumberedRow", "encoding_of", "read_json", "read_jsonl"]

MAX_LINE = 64 * 1024 * 1024
"""Bytes; a longer line is rejected rather than held in memory."""


class NumberedRow(NamedTuple):
    """A row and where it stands: line number for JSON Lines, position from 1 elsewhere."""

    number: int
    row: Any
    """The row as read, or the RowError that reading it gave."""


def encoding_of(path: Path) -> str:
    """UTF-8 unless a byte order mark says UTF-16."""
    with path.open("rb") as file:
        head = file.read(2)
    return "utf-16" if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def read_jsonl(path: Path) -> Iterator[NumberedRow]:
    """One object a line; empty lines are passed over."""
    if encoding_of(path) == "utf-16":
        yield from _utf16_lines(path)
        return
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), 1):
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if text.strip():
                yield NumberedRow(number, _parse(text))


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
        yield line


def _utf16_lines(path: Path) -> Iterator[NumberedRow]:
    with path.open(encoding="utf-16", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield NumberedRow(number, _parse(line))


def _parse(line: bytes | str) -> Any:
    if len(line) >= MAX_LINE:
        return RowError(f"the line is longer than {MAX_LINE >> 20} MiB", code="broken_line")
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return RowError(f"the line is not JSON: {error}"[:300], code="broken_line")


def read_json(path: Path) -> Iterator[NumberedRow]:
    """A list of rows, or a mapping id -> row.

    Raises:
        SourceError: the file as a whole is not such a document.
    """
    document = _document(path)
    if isinstance(document, list):
        yield from (NumberedRow(number, row) for number, row in enumerate(document, 1))
    elif isinstance(document, dict):
        for number, (key, row) in enumerate(document.items(), 1):
            yield NumberedRow(number, {"input_id": key, **row} if isinstance(row, dict) else row)
    else:
        msg = f"{path.name} holds neither a list nor a mapping id -> row"
        raise SourceError(msg)


def _document(path: Path) -> Any:
    try:
        # The standard library's reader, since it also reads lone surrogates: one bad row must
        # not cost the others.
        return json.loads(path.read_text(encoding=encoding_of(path)))
    except (ValueError, RecursionError) as error:
        msg = (
            f"{path.name} is not JSON: {str(error)[:200]}; one row a line belongs in a .jsonl file"
        )
        raise SourceError(msg) from None
