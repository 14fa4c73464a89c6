"""The findings of a finished run, read from its tables row group by row group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.errors import OutputError
from tasks.core.findings import Findings, findings_of
from tasks.core.paths import RunPaths

__all__ = ["read_findings"]

_BATCH = 2048
_SOURCE = ["input_id", "kind", "path"]

Rows = Iterator[dict[str, Any]]


def read_findings(paths: RunPaths) -> Iterator[Findings]:
    """One item per input, in the tables' order, also where there is nothing to show.

    Raises:
        OutputError: a table is missing, damaged, or not of the same run as the other one.
    """
    groups = groupby(_comments(paths), key=itemgetter("input_id"))
    waiting = next(groups, None)
    for source in _rows(paths, "reviews", _SOURCE):
        if waiting is None or waiting[0] != source["input_id"]:
            yield findings_of(source, ())
            continue
        yield findings_of(source, waiting[1])
        waiting = next(groups, None)
    if waiting is not None:
        msg = (
            f"comments.parquet and reviews.parquet in {paths.root} are of different runs "
            f"(input {waiting[0]!r}): run it again to write both"
        )
        raise OutputError(msg)


def _comments(paths: RunPaths) -> Rows:
    return _rows(paths, "comments", None)


def _rows(paths: RunPaths, name: str, columns: list[str] | None) -> Rows:
    with _readable(paths, name), pq.ParquetFile(paths.table(name)) as file:
        for batch in file.iter_batches(_BATCH, columns=columns):
            yield from (_worth_showing(batch) if columns is None else batch).to_pylist()


def _worth_showing(batch: pa.RecordBatch) -> pa.RecordBatch:
    # Most comments of a night are dropped; they never become Python objects.
    visible = pc.not_equal(batch["outcome"], "dropped")
    suppressed = pc.fill_null(pc.equal(batch["drop_reason"], "suppressed"), fill_value=False)
    return batch.filter(pc.or_(visible, suppressed))


@contextmanager
def _readable(paths: RunPaths, name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        msg = f"{paths.table(name)} {reason}: name the folder of a finished run"
        raise OutputError(msg) from None
