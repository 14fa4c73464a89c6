"""
Where inputs come from: one reader per form, all yielding numbered rows one at a time.

    .jsonl .ndjson .json .csv .parquet   data files, the text ones also with .gz behind
    a folder                             .diff, .patch and source files
    git:PATH@BASE..HEAD, git:PATH@since=last, git:PATH@since=24h; several of them with blanks between
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.core.errors import SourceError
from tasks.core.files import is_there
from tasks.core.git_source import GIT_PREFIX, split_sources
from tasks.core.selection import GitOptions
from tasks.load.sources.adapters import adapt_row
from tasks.load.sources.folder import read_folder
from tasks.load.sources.git.repositories import name_repositories, read_repositories
from tasks.load.sources.git.resolve import check_git
from tasks.load.sources.git.source import read_git
from tasks.load.sources.numbered import NumberedRow
from tasks.load.sources.tables import read_csv, read_parquet
from tasks.load.sources.text import read_json_rows, read_jsonl

__all__ = ["NumberedRow", "check_source", "may_be_empty", "read_source"]

Reader = Callable[[Path], Iterator[NumberedRow]]

_TEXT: dict[str, Reader] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json_rows,
    ".csv": read_csv,
}
_READERS: dict[str, Reader] = {
    **_TEXT,
    ".parquet": read_parquet,
    **{f"{ending}.gz": reader for ending, reader in _TEXT.items()},
}
_DEFAULT = GitOptions()


def may_be_empty(source: str) -> bool:
    """Whether no input at all is a normal result: nothing changed in the repository."""
    return source.startswith(GIT_PREFIX)


def check_source(source: str) -> None:
    """What can be said of SOURCE without reading it.

    Raises:
        SourceError: missing, no regular file, of a form that has no reader, or a git source that is
            malformed or names no repository or commit; the message names the remedy.
    """
    with _disk_errors(source):
        if len(several := split_sources(source)) > 1:
            name_repositories(several)
        if source.startswith(GIT_PREFIX):
            for one in several:
                check_git(one)
        elif not Path(source).is_dir():
            _reader(source)


def read_source(source: str, options: GitOptions = _DEFAULT) -> Generator[NumberedRow, None, None]:
    """The rows of SOURCE in order; a row that cannot be read is yielded as its RowError.

    Memory holds a row or a small batch of them, but for .json, whose text is held as a whole.

    Raises:
        SourceError: as `check_source`, or SOURCE as a whole cannot be read.
    """
    check_source(source)
    with _disk_errors(source):
        if len(split_sources(source)) > 1:
            yield from read_repositories(source, options)
        elif source.startswith(GIT_PREFIX):
            yield from read_git(source, options)
        elif Path(source).is_dir():
            yield from read_folder(Path(source), options)
        else:
            for row in _reader(source)(Path(source)):
                yield row._replace(row=adapt_row(row.row))


@contextmanager
def _disk_errors(source: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"{source} cannot be read: {reason}; nothing of it was used"
        raise SourceError(msg) from None


def _reader(source: str) -> Reader:
    path = Path(source)
    if not is_there(path):
        msg = f"{source} does not exist: check the path"
        raise SourceError(msg)
    if not path.is_file():
        msg = f"{source} is neither a file nor a folder: copy its rows to a file first"
        raise SourceError(msg)
    name = path.name.lower()
    reader = next((found for ending, found in _READERS.items() if name.endswith(ending)), None)
    if reader is None:
        msg = f"{source}: no reader for this ending; use a folder, git: or {', '.join(_READERS)}"
        raise SourceError(msg)
    return reader
