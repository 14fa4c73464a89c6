"""JSON Lines and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from tasks.core.errors import RowError, SourceError
from tasks.load.sources.numbered import NumberedRow
from tasks.load.sources.opening import MAX_LINE, bounded_lines, open_text

__all__ = ["read_json_rows", "read_jsonl"]

_MAX_DEPTH = 500
"""Levels of lists and objects in a row: below what the parser of any Python version gives up at."""
_TOO_DEEP = f"it is nested deeper than {_MAX_DEPTH} levels"
_SNIPPET = 200
"""Characters of an unreadable row that rejected.jsonl shows."""

_BLANKS = " \t\r\n"
_BLANK = re.compile(r"[ \t\r\n]*")
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},]', re.DOTALL)


class _Decoder:
    """JSON values one at a time, a RowError where an object says the same key twice.

    `json` keeps the last of two equal keys and drops the first without a word.
    """

    def __init__(self) -> None:
        self._doubled: list[str] = []
        self._json = json.JSONDecoder(object_pairs_hook=self._object)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs]
            self._doubled.append(next(name for name in names if names.count(name) > 1))
        return row

    def at(self, text: str, start: int) -> tuple[Any, int]:
        """The value that begins at `start`, or its RowError, and where it ends.

        Raises ValueError for what is no JSON value, or nested too deep.
        """
        self._doubled.clear()
        try:
            value, end = self._json.raw_decode(text, start)
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None
        # Few rows have brackets enough to be looked at.
        brackets = text.count("[", start, end) + text.count("{", start, end)
        if brackets > _MAX_DEPTH and _is_deeper(value, _MAX_DEPTH):
            raise ValueError(_TOO_DEEP)
        if self._doubled:
            return _broken(f"the field {self._doubled[0][:40]!r} stands twice in one object"), end
        return value, end


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects stand in each other more than so many times."""
    inside = _nests([value])
    for _ in range(levels):
        inside = [one for nest in inside for one in _nests(nest)]
    return bool(inside)


def _nests(values: list[Any] | dict[str, Any]) -> list[Any]:
    items = values.values() if isinstance(values, dict) else values
    return [one for one in items if isinstance(one, dict | list)]


def read_jsonl(path: Path) -> Iterator[NumberedRow]:
    """One object a line; empty lines are passed over."""
    decoder = _Decoder()
    with open_text(path, newline="\n") as file:
        for number, (line, whole) in enumerate(bounded_lines(file), 1):
            # Files that were joined have a byte order mark in their middle.
            text = line.strip(_BLANKS).removeprefix("\ufeff")
            if text or not whole:
                row = _line(decoder, text) if whole else _too_long()
                yield NumberedRow(number, row, text[:_SNIPPET])


def _line(decoder: _Decoder, text: str) -> Any:
    try:
        row, end = decoder.at(text, 0)
    except ValueError as error:
        return _broken(f"the line is not JSON: {error}")
    if end < len(text):
        return _broken(f"the line goes on behind its object, at character {end + 1}")
    return row


def _broken(message: str) -> RowError:
    return RowError(message[:300], code="broken_line")


def _too_long() -> RowError:
    return _broken(f"the line is longer than {MAX_LINE >> 20} Mi characters")


def read_json_rows(path: Path) -> Iterator[NumberedRow]:
    """A list of rows, or a mapping id -> row. The file's text is held in memory, its rows are not.

    Raises:
        SourceError: the file as a whole is not such a document.
    """
    with open_text(path, newline="\n") as file:
        document = _Document(file.read(), path.name)
    for number, (key, row, snippet) in enumerate(document.rows(), 1):
        yield NumberedRow(number, _with_id(key, row), snippet)


def _with_id(key: str | None, row: Any) -> Any:
    if key is None or not isinstance(row, dict) or row.get("input_id") is not None:
        return row
    return row | {"input_id": key}


class _Element(NamedTuple):
    key: str | None
    row: Any
    snippet: str


class _Document:
    """The elements of a JSON list or object, each read on its own."""

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._decoder = _Decoder()
        self._at = 0

    def rows(self) -> Iterator[_Element]:
        closing = {"[": "]", "{": "}"}.get(self._next())
        if closing is None:
            self._fail("it holds neither a list nor a mapping id -> row")
        self._at += 1
        more = self._next() != closing
        while more:
            key = self._key() if closing == "}" else None
            yield _Element(key, *self._value())
            more = self._next() == ","
            self._at += more
        if self._next() != closing:
            self._fail("a row ends without a comma")
        self._at += 1
        if self._next():
            self._fail("it goes on behind its end")

    def _next(self) -> str:
        """The next character that is no blank; empty at the end."""
        blank = _BLANK.match(self._text, self._at)
        self._at = blank.end() if blank else self._at
        return self._text[self._at : self._at + 1]

    def _key(self) -> str:
        if self._next() != '"':
            self._fail("a key is missing")
        try:
            key, self._at = self._decoder.at(self._text, self._at)
        except ValueError:
            self._fail("a key has no end")
        if self._next() != ":":
            self._fail("a key without a value")
        self._at += 1
        return str(key)

    def _value(self) -> tuple[Any, str]:
        self._next()
        start = self._at
        try:
            row, self._at = self._decoder.at(self._text, start)
        except ValueError as error:
            row, self._at = _broken(f"the row is not JSON: {error}"), self._end_of_value()
        return row, self._text[start : min(self._at, start + _SNIPPET)]

    def _end_of_value(self) -> int:
        """Where the broken value at the current place ends."""
        end = self._outer_border()
        if end <= self._at:
            self._fail("a row has no beginning or no end")
        return end

    def _outer_border(self) -> int:
        """The next comma or closing bracket that is not inside of a value; -1: none."""
        depth = 0
        for token in _TOKEN.finditer(self._text, self._at):
            kind = token.group()
            if depth == 0 and kind in {",", "]", "}"}:
                return token.start()
            depth += (kind in {"[", "{"}) - (kind in {"]", "}"})
        return -1

    def _fail(self, problem: str) -> NoReturn:
        line = self._text.count("\n", 0, self._at) + 1
        msg = (
            f"{self._name} is not a JSON document of rows, line {line}: {problem};"
            " one row a line belongs in a .jsonl file"
        )
        raise SourceError(msg)
