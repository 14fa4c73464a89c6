"""The columns of a finished run that the report counts, as pandas frames. Read once for all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.paths import RunPaths
from tasks.outputs.schemas import SCHEMAS
from tasks.report.html import CHART_CALL_COLUMNS, CHART_COMMENT_COLUMNS
from tasks.report.summary import SUMMARY_CALL_COLUMNS, SUMMARY_COMMENT_COLUMNS

__all__ = ["Frames", "read_frames"]


_IDS = ("cluster_id", "comment_id")


class Frames(NamedTuple):
    """Calls and comments of a run, with the columns of the summary and of the charts."""

    calls: pd.DataFrame
    comments: pd.DataFrame


def read_frames(paths: RunPaths) -> Frames:
    """All calls and comments of a run; per 100,000 calls 10 MB. Texts but ids are categories.

    Ids are compared before they become Python objects, each of which would be one of its own.
    """
    calls = _read(paths, "calls", (*SUMMARY_CALL_COLUMNS, *CHART_CALL_COLUMNS))
    wanted = [
        name for name in (*SUMMARY_COMMENT_COLUMNS, *CHART_COMMENT_COLUMNS) if name != "canonical"
    ]
    comments = _read(paths, "comments", (*wanted, *_IDS))
    alone = pc.is_null(comments["cluster_id"])
    canonical = pc.or_kleene(alone, pc.equal(comments["cluster_id"], comments["comment_id"]))
    comments = comments.drop_columns(list(_IDS))
    return Frames(_frame(calls), _frame(comments.append_column("canonical", canonical)))


def _read(paths: RunPaths, name: str, columns: Sequence[str]) -> pa.Table:
    known = pq.read_schema(paths.table(name)).names
    wanted = [one for one in dict.fromkeys(columns) if one in known]
    missing = [one for one in dict.fromkeys(columns) if one not in known]
    texts = [one for one in wanted if pa.types.is_string(SCHEMAS[name].field(one).type)]
    table = pq.read_table(
        paths.table(name),
        columns=wanted,
        read_dictionary=[one for one in texts if one not in _IDS],
        pre_buffer=False,
        use_threads=False,
    )
    for one in missing:  # of a run from before there was that column
        table = table.append_column(one, pa.nulls(len(table), SCHEMAS[name].field(one).type))
    return table


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(self_destruct=True, split_blocks=True)
    del table
    pa.default_memory_pool().release_unused()
    return frame
