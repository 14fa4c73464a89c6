"""CSV and Parquet."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.errors import RowError, SourceError
from tasks.load.sources.numbered import NumberedRow
from tasks.load.sources.opening import MAX_LINE, open_text

__all__ = ["read_csv", "read_parquet"]

_BATCH = 64
_SNIPPET = 200
_BACKSLASH = re.compile(r'\\"(?!")')
_SEPARATED = re.compile(r"(?:sep=|\"?\w+\"?)([;\t|])")
_UNREADABLE = (pa.ArrowException, ValueError, TypeError, KeyError, OverflowError)


def read_csv(path: Path) -> Iterator[NumberedRow]:
    """Rows of a CSV file with a header line; every value is text, an empty one is missing.

    A header that is repeated, as where files were joined, is passed over.

    Raises:
        SourceError: no header, or one that names a column twice; another separator than the comma;
            quotes that are escaped with backslashes.
    """
    csv.field_size_limit(MAX_LINE)
    with open_text(path, newline="") as file:
        # Strict: else a quote that is never closed would swallow all later rows into one field.
        lines = _CsvLines(file, path.name)
        names = lines.header()
        rows = (fields for fields in lines if len(names) == 1 or not _repeats(names, fields))
        for number, fields in enumerate(rows, 1):
            if isinstance(fields, RowError):
                yield NumberedRow(number, fields)
            else:
                yield NumberedRow(number, _csv_row(names, fields), ",".join(fields)[:_SNIPPET])


class _QuoteCount:
    """The lines of a file, with a count of the quotes since a row's start."""

    def __init__(self, file: Iterable[str]) -> None:
        self._lines = iter(file)
        self.number = 0
        self.quotes = 0
        self.backslash = 0
        """The first line of the row in which a backslash escapes a quote; 0: there is none."""

    def start(self) -> int:
        """A row begins: the number of its first line."""
        self.quotes = self.backslash = 0
        return self.number + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        self.quotes += line.count('"')
        if not self.backslash and _BACKSLASH.search(line):
            self.backslash = self.number
        return line

    def finish(self) -> None:
        """Read on to where the quotes are even: the next line is not inside a field."""
        while self.quotes % 2 and next(self, None) is not None:
            pass


class _CsvLines:
    """The rows of a file that are not empty, a RowError for each that cannot be read."""

    def __init__(self, file: Iterable[str], name: str) -> None:
        self._lines = _QuoteCount(file)
        self._reader = csv.reader(self._lines, strict=True)
        self._name = name

    def header(self) -> list[str]:
        first = next(self, [])
        if isinstance(first, RowError):
            msg = f"{self._name}: its first line is no header: {first}"
            raise SourceError(msg)
        other = _SEPARATED.match(first[0]) if len(first) == 1 else None
        if other is not None:
            sign = {"\t": "tabs"}.get(other[1], repr(other[1]))
            msg = f"{self._name}: its columns are separated by {sign}: save it as CSV UTF-8 (comma delimited)"
            raise SourceError(msg)
        while first and not first[-1]:  # Excel keeps columns that were emptied
            first.pop()
        _require_unique(self._name, first)
        return first

    def __iter__(self) -> Iterator[list[str] | RowError]:
        return self

    def __next__(self) -> list[str] | RowError:
        fields: list[str] = []
        while not fields:
            line = self._lines.start()
            try:
                fields = next(self._reader)
            except csv.Error as error:
                self._require_doubled()
                self._lines.finish()
                return _broken(error, line, self._lines.number)
        return fields

    def _require_doubled(self) -> None:
        if self._lines.backslash:
            msg = (
                f"{self._name}, line {self._lines.backslash}: quotes are escaped with backslashes;"
                ' write them doubled ("")'
            )
            raise SourceError(msg)


def _repeats(names: list[str], fields: list[str] | RowError) -> bool:
    if isinstance(fields, RowError) or not fields:
        return False
    return [fields[0].removeprefix("\ufeff"), *fields[1 : len(names)]] == names


def _broken(error: csv.Error, first: int, last: int) -> RowError:
    where = f"line {first}" if first >= last else f"lines {first} to {last}"
    return RowError(f"{where}: not a CSV row: {error}", code="broken_line")


def _csv_row(names: list[str], fields: list[str]) -> dict[str, str] | RowError:
    if not any(fields[len(names) :]):
        fields = fields[: len(names)]
    if len(fields) != len(names):
        msg = f"{len(fields)} fields where the header has {len(names)}: quote fields that hold commas or newlines"
        return RowError(msg, code="ragged_row")
    return {name: value for name, value in zip(names, fields, strict=True) if value}


def _require_unique(name: str, columns: Iterable[str]) -> None:
    doubled = [column for column, count in Counter(columns).items() if count > 1]
    if doubled:
        msg = f"{name} has two columns named {doubled[0][:80]!r}: rename or drop one"
        raise SourceError(msg)


def read_parquet(path: Path) -> Iterator[NumberedRow]:
    """Batch by batch, whatever the size of the file.

    Raises:
        SourceError: not a Parquet file, a damaged one, or one that names a column twice.
    """
    try:
        with pq.ParquetFile(path) as file:
            _require_unique(path.name, file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in _batch_rows(batch):
                    number += 1
                    yield NumberedRow(number, row)
    except pa.ArrowException as error:
        msg = f"{path.name} is not a readable Parquet file: {str(error)[:200]}"
        raise SourceError(msg) from None


def _batch_rows(batch: pa.RecordBatch) -> Iterator[Any]:
    try:
        rows = batch.to_pylist()
    except _UNREADABLE:
        # One value without a Python form must not cost its neighbours.
        rows = [_single_row(batch.slice(at, 1)) for at in range(batch.num_rows)]
    return iter(_with_text(row) for row in rows)


def _single_row(row: pa.RecordBatch) -> dict[str, Any] | RowError:
    values: dict[str, Any] = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            values[name] = column[0].as_py()
        except _UNREADABLE as error:
            kind = f"{type(error).__name__}: {error}"[:200]
            return RowError(f"column {name} cannot be read: {kind}", code="bad_value")
    return values


def _with_text(row: dict[str, Any] | RowError) -> dict[str, Any] | RowError:
    """Some writers store text as binary: what is UTF-8 becomes text again."""
    if isinstance(row, RowError):
        return row
    return {
        name: _text(value) if isinstance(value, bytes) else value for name, value in row.items()
    }


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
