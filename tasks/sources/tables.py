"""CSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.errors import RowError, SourceError
from tasks.sources.text import NumberedRow, encoding_of

__all__ = ["read_csv", "read_parquet"]

MAX_FIELD = 64 * 1024 * 1024
_BATCH = 256


def read_csv(path: Path) -> Iterator[NumberedRow]:
    """A header line and quoted fields; every value is text, an empty one is missing."""
    csv.field_size_limit(MAX_FIELD)
    # Bytes that are no text become lone surrogates, which row validation rejects one by one.
    with path.open(encoding=encoding_of(path), errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file, restkey="_unnamed")
        number = 0
        while True:
            number += 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield NumberedRow(number, RowError(f"not a CSV row: {error}", code="broken_line"))
                continue
            yield NumberedRow(number, {name: value for name, value in row.items() if value})


def read_parquet(path: Path) -> Iterator[NumberedRow]:
    """Batch by batch, whatever the size of the file.

    Raises:
        SourceError: not a Parquet file, or a damaged one.
    """
    try:
        number = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield NumberedRow(number, row)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        msg = f"{path.name} is not a readable Parquet file: {str(error)[:200]}"
        raise SourceError(msg) from None
