"""Where inputs come from: one reader per form, all yielding numbered rows one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.core.errors import SourceError
from tasks.sources.tables import read_csv, read_parquet
from tasks.sources.text import NumberedRow, read_json, read_jsonl

__all__ = ["NumberedRow", "read_rows"]

_READERS: dict[str, Callable[[Path], Iterator[NumberedRow]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}


def read_rows(source: str) -> Iterator[NumberedRow]:
    """The rows of SOURCE in order; a row that cannot be read is yielded as its RowError.

    Raises:
        SourceError: missing, a folder, unreadable, or of a form that has no reader.
    """
    path = Path(source)
    reader = _READERS.get(path.suffix.lower())
    if not path.exists():
        msg = f"{source} does not exist: check the path"
        raise SourceError(msg)
    if path.is_dir():
        msg = f"{source} is a folder: name one file ({', '.join(_READERS)})"
        raise SourceError(msg)
    if reader is None:
        msg = f"{source}: no reader for {path.suffix or 'a name without ending'}; use {', '.join(_READERS)}"
        raise SourceError(msg)
    try:
        yield from reader(path)
    except OSError as error:
        msg = f"{source} cannot be read: {error.strerror or error}"
        raise SourceError(msg) from None
