"""Stage 5: merged lines -> three Parquet tables and reviews.json, each appearing whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.core.files import atomic, sha256
from tasks.core.paths import RunPaths
from tasks.core.records import Row
from tasks.outputs.schemas import SCHEMAS, Output
from tasks.write.rows import call_rows, comment_rows, json_entry, review_row

__all__ = ["write", "write_outputs"]

_BATCH = 512
"""Rows turned into Arrow at a time: what memory holds, whatever the size of the run."""

_ROW_GROUP = 2 * 2**20
"""Bytes written at a time. Each group costs some kilobytes of description, kept to the file's end."""


@task(name="write", task_run_name="write", cache_policy=NO_CACHE, persist_result=False)
def write(
    paths: RunPaths,
    run_id: str,
    facts: dict[str, str],
    apart: Callable[[Callable[[], list[Output]]], list[Output]] | None = None,
) -> list[Output]:
    """Stage task; see `write_outputs`.

    `apart` calls it: Arrow's tables and pandas, which Arrow imports, take 70 MB, which a process of its
    own gives back.
    """
    made = partial(write_outputs, paths, run_id, facts)
    return made() if apart is None else apart(made)


def write_outputs(paths: RunPaths, run_id: str, facts: Mapping[str, str]) -> list[Output]:
    """Write every output from `paths.merged`; `facts` become Parquet key-value metadata.

    Raises:
        OutputError: disk full, read-only, no permission; earlier outputs are as they were.
    """
    with ExitStack() as stack:
        tables = {name: stack.enter_context(_table(paths, name, facts)) for name in SCHEMAS}
        document = _JsonObject(stack.enter_context(atomic(paths.reviews_json)))
        for item, review in _merged(paths):
            tables["reviews"].add(review_row(item, review, run_id))
            tables["comments"].add(*comment_rows(review, run_id))
            tables["calls"].add(*call_rows(review, run_id))
            document.add(item["input_id"], json_entry(item, review))
        document.close()
    rows = {f"{name}.parquet": table.rows for name, table in tables.items()}
    rows[paths.reviews_json.name] = document.rows
    return [_describe(paths, name, count) for name, count in rows.items()]


def _merged(paths: RunPaths) -> Iterator[tuple[Row, Row]]:
    with paths.merged.open("rb") as file:
        for line in file:
            row = orjson.loads(line)
            yield row["input"], row["review"]


def _describe(paths: RunPaths, name: str, rows: int) -> Output:
    path = paths.root / name
    return Output(name, rows, path.stat().st_size, sha256(path))


@contextmanager
def _table(paths: RunPaths, name: str, facts: Mapping[str, str]) -> Iterator[_Table]:
    with atomic(paths.table(name)) as target:
        table = _Table(target, SCHEMAS[name], facts)
        yield table
        table.close()


class _Table:
    """A Parquet file that grows batch by batch."""

    def __init__(self, target: BinaryIO, schema: pa.Schema, facts: Mapping[str, str]) -> None:
        self.rows = 0
        self._schema = schema
        self._waiting: list[Row] = []
        self._batches: list[pa.RecordBatch] = []
        self._size = 0
        described = schema.with_metadata(dict(facts))
        self._writer = pq.ParquetWriter(target, described, compression="zstd")

    def add(self, *rows: Row) -> None:
        self._waiting.extend(rows)
        self.rows += len(rows)
        if len(self._waiting) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        batch = pa.RecordBatch.from_pylist(self._waiting, schema=self._schema)
        self._waiting = []
        self._batches.append(batch)
        self._size += batch.nbytes
        if self._size >= _ROW_GROUP:
            self._write()

    def _write(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._batches, self._schema))
        self._batches, self._size = [], 0

    def close(self) -> None:
        self._flush()
        self._write()
        self._writer.close()


class _JsonObject:
    """A JSON object that grows entry by entry, one a line."""

    def __init__(self, target: BinaryIO) -> None:
        self.rows = 0
        self._target = target
        target.write(b"{")

    def add(self, name: str, value: Row) -> None:
        self._target.write(
            b"%b\n%b: %b" % (b"," if self.rows else b"", orjson.dumps(name), orjson.dumps(value))
        )
        self.rows += 1

    def close(self) -> None:
        self._target.write(b"\n}\n")
