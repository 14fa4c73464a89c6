"""The findings of a finished run, read from its tables row group by row group."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.errors import OutputError
from tasks.core.paths import RunPaths
from tasks.core.records import Row
from tasks.core.text_safety import markdown_line
from tasks.outputs.tables import read_table
from tasks.review.findings.findings import Findings, findings_of

__all__ = ["new_critical_titles", "read_carried", "read_findings"]

_SOURCE = ("input_id", "kind", "path")
_CRITICAL = ("input_id", "cluster_id", "path", "title", "message", "severity", "outcome", "age")


def read_findings(paths: RunPaths) -> Iterator[Findings]:
    """One item per input, in the tables' order, also where there is nothing to show.

    Raises:
        OutputError: a table is missing, damaged, or not of the same run as the other one.
    """
    groups = groupby(
        read_table(paths, "comments", keep=_shown_or_suppressed), key=itemgetter("input_id")
    )
    waiting = next(groups, None)
    for source in read_table(paths, "reviews", _SOURCE):
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


def new_critical_titles(paths: RunPaths) -> list[str]:
    """`path: title` of critical findings that no earlier run had; all of them, where none is known.

    Raises:
        OutputError: the table is missing or damaged.
    """
    rows = read_table(paths, "comments", _CRITICAL, keep=_new_critical)
    found = {(row["input_id"], row["cluster_id"]): row for row in rows}
    return [
        markdown_line(f"{row['path']}: {row['title'] or row['message']}") for row in found.values()
    ]


def read_carried(paths: RunPaths) -> Iterator[Row]:
    """Open findings of earlier runs that this one did not look at; none where nothing was carried along.

    Raises:
        OutputError: the file is damaged.
    """
    if not paths.carried.exists():
        return
    try:
        with paths.carried.open("rb") as file:
            yield from map(orjson.loads, file)
    except (OSError, orjson.JSONDecodeError):
        msg = f"{paths.carried} cannot be read: remove it to go on without what it carries along"
        raise OutputError(msg) from None


def _shown_or_suppressed(batch: pa.RecordBatch) -> pa.RecordBatch:
    # Most comments of a run are dropped; they never become Python objects.
    visible = pc.not_equal(batch["outcome"], "dropped")
    suppressed = pc.fill_null(pc.equal(batch["drop_reason"], "suppressed"), fill_value=False)
    return batch.filter(pc.or_(visible, suppressed))


def _new_critical(batch: pa.RecordBatch) -> pa.RecordBatch:
    visible = pc.not_equal(batch["outcome"], "dropped")
    critical = pc.fill_null(pc.equal(batch["severity"], "critical"), fill_value=False)
    recurring = pc.fill_null(pc.equal(batch["age"], "recurring"), fill_value=False)
    return batch.filter(pc.and_(pc.and_(visible, critical), pc.invert(recurring)))
