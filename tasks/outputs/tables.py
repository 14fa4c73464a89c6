"""The tables of a finished run, read row group by row group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.errors import OutputError
from tasks.core.files import read_json
from tasks.core.manifest import Manifest
from tasks.core.paths import RunPaths
from tasks.core.records import Row

__all__ = ["read_entries", "read_entry_lines", "read_manifest", "read_reviews", "read_table"]

_BATCH = 2048
_NESTED_BATCH = 256
"""Whole rows of reviews.parquet carry all comments and calls of an input."""


def read_manifest(paths: RunPaths) -> Manifest:
    """The manifest of a finished run.

    Raises:
        OutputError: there is no manifest: the folder is none of a run, or it did not end.
    """
    manifest = read_json(paths.manifest)
    if not isinstance(manifest, dict):
        msg = f"{paths.manifest} is missing or damaged: name the folder of a finished run"
        raise OutputError(msg)
    return cast("Manifest", manifest)


def read_table(
    paths: RunPaths,
    name: str,
    columns: Sequence[str] | None = None,
    *,
    batch: int = _BATCH,
    keep: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None,
) -> Iterator[Row]:
    """Rows of a table; `keep` filters before they become Python objects.

    Raises:
        OutputError: the table is missing or damaged.
    """
    wanted = None if columns is None else list(columns)
    with _readable(paths, name), pq.ParquetFile(paths.table(name)) as file:
        # Arrow's threads hold 20 MB for what they read ahead, and are no faster here.
        for found in file.iter_batches(batch, columns=wanted, use_threads=False):
            yield from (found if keep is None else keep(found)).to_pylist()


def read_reviews(paths: RunPaths, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Rows of reviews.parquet with `extra` read from its JSON.

    Raises:
        OutputError: the table is missing or damaged.
    """
    for row in read_table(paths, "reviews", columns, batch=_NESTED_BATCH):
        row["extra"] = orjson.loads(row["extra"])
        yield row


def read_entries(paths: RunPaths) -> Iterator[tuple[str, Any]]:
    """The entries of reviews.json: input_id and what the file has of it.

    Raises:
        OutputError: the file is missing or damaged.
    """
    for line in read_entry_lines(paths):
        try:
            yield from orjson.loads(line).items()
        except orjson.JSONDecodeError:
            raise _changed(paths) from None


def read_entry_lines(paths: RunPaths) -> Iterator[bytes]:
    """The entries of reviews.json unread, each as a JSON object, in the order of reviews.parquet.

    Raises:
        OutputError: the file is missing.
    """
    try:
        with paths.reviews_json.open("rb") as file:
            for line in file:
                entry = line.strip().removesuffix(b",")
                if entry not in {b"{", b"}", b"", b"{}"}:
                    yield b"{%b}" % entry
    except OSError:
        raise _changed(paths) from None


def _changed(paths: RunPaths) -> OutputError:
    return OutputError(
        f"{paths.reviews_json} is missing or was changed: name the folder of a finished run"
    )


@contextmanager
def _readable(paths: RunPaths, name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        msg = f"{paths.table(name)} {reason}: name the folder of a finished run"
        raise OutputError(msg) from None
