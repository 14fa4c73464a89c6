"""A run's files against its manifest, as soon as they are written and at any later time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.cells import Cell
from tasks.core.errors import OutputError
from tasks.core.files import sha256
from tasks.core.manifest import Manifest
from tasks.core.paths import RunPaths
from tasks.finished.derived import changed_derived
from tasks.finished.recount import FileFacts, Recount, compare_files, plan_of
from tasks.outputs.schemas import SCHEMA_VERSION, SCHEMAS, Output

__all__ = ["check_written", "verify"]

_BATCH = 4096
_UNREADABLE = (OSError, pa.ArrowException, orjson.JSONDecodeError, UnicodeDecodeError)


def verify(paths: RunPaths, manifest: Manifest) -> list[str]:
    """Differences between a run's files and its manifest, a line each. Memory holds the input ids."""
    recorded = manifest["outputs"]
    findings = list(compare_files(recorded, {name: _facts(paths, name) for name in recorded}))
    findings += [line for name in SCHEMAS for line in _schema(paths, name, manifest)]
    findings += changed_derived(paths, manifest)
    if not findings:
        findings += _recounted(paths, manifest)
    return findings


def check_written(paths: RunPaths, outputs: Iterable[Output]) -> None:
    """Read back the rows and schemas of files just written, from their footers.

    Raises:
        OutputError: a file is not what was meant to be written.
    """
    for output in outputs:
        name = output.name.removesuffix(".parquet")
        found = _rows(paths.root / output.name)
        if name not in SCHEMAS:
            continue
        good = pq.read_schema(paths.table(name)).equals(SCHEMAS[name])
        if found != output.rows or not good:
            msg = (
                f"{output.name} was not written as meant ({found} of {output.rows} rows): run again"
            )
            raise OutputError(msg)


def _facts(paths: RunPaths, name: str) -> FileFacts | None:
    path = paths.root / name
    if not path.is_file():
        return None
    return FileFacts(path.stat().st_size, sha256(path), _rows(path))


def _rows(path: Path) -> int | None:
    if path.suffix != ".parquet":
        return None
    try:
        return int(pq.read_metadata(path).num_rows)
    except _UNREADABLE:
        return -1


def _schema(paths: RunPaths, name: str, manifest: Manifest) -> Iterator[str]:
    version = manifest["schema_version"]
    if version != SCHEMA_VERSION:
        yield f"{name}.parquet has schema version {version}: verify it with the version that wrote it"
        return
    try:
        found = pq.read_schema(paths.table(name))
    except _UNREADABLE:
        yield f"{name}.parquet cannot be read"
        return
    # Runs from before a column was added lack it; what they have must be of the type meant.
    for column in found:
        meant = SCHEMAS[name].get_field_index(column.name)
        if meant < 0 or not _fits(column.type, SCHEMAS[name].field(meant).type):
            yield f"{name}.parquet: column {column.name} is not of the schema"


def _fits(found: pa.DataType, meant: pa.DataType) -> bool:
    # Nested columns grow as well: compare the kinds, not every field.
    return bool(found.id == meant.id)


def _recounted(paths: RunPaths, manifest: Manifest) -> list[str]:
    recount = Recount(plan_of(manifest))
    try:
        _feed(paths, recount)
    except _UNREADABLE as error:
        return [f"an output cannot be read: {error}"]
    return list(recount.findings(manifest))


def _feed(paths: RunPaths, recount: Recount) -> None:
    for row in _table(paths, "reviews", "input_id", "coverage"):
        recount.review(*row)
    calls = _table(paths, "calls", "input_id", "stage", "name", "status", "reason")
    for input_id, rows in groupby(calls, key=itemgetter(0)):
        recount.calls(input_id, [Cell(*row[1:]) for row in rows])
    for row in _table(paths, "comments", "input_id", "outcome", "drop_reason"):
        recount.comment(*row)
    for input_id in _json_ids(paths.reviews_json):
        recount.json_id(input_id)


def _table(paths: RunPaths, name: str, *columns: str) -> Iterator[tuple[Any, ...]]:
    with pq.ParquetFile(paths.table(name)) as file:
        for batch in file.iter_batches(_BATCH, columns=list(columns)):
            yield from zip(*(batch[column].to_pylist() for column in columns), strict=True)


def _json_ids(path: Path) -> Iterator[str]:
    """Keys of the object, which has one entry a line: twice the same key would not survive a parse."""
    with path.open("rb") as file:
        for line in file:
            entry = line.strip().removesuffix(b",")
            if entry not in (b"{", b"}", b"{}"):
                yield from orjson.loads(b"{%b}" % entry)
