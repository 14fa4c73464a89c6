from __future__ import annotations

import csv
import datetime as dt
import io
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import RowError, SourceError
from tasks.load.rows import read_input
from tasks.load.sources import NumberedRow, read_source
from tasks.outputs.stored import stored_input

FIELDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def csv_rows(folder: Path, data: bytes) -> list[NumberedRow]:
    path = folder / "in.csv"
    path.write_bytes(data)
    return list(read_source(str(path)))


def outcomes(rows: list[NumberedRow]) -> list[Any]:
    return [row.row.code if isinstance(row.row, RowError) else row.row for row in rows]


def test_quotes_and_newlines_in_fields(tmp_path: Path) -> None:
    """Code with commas, quotes and line breaks comes back as it was written; empty is missing."""
    code = "print(\"a,b\")\r\nx = '''\n\"q\"'''\n"
    text = io.StringIO()
    csv.writer(text).writerows([["input_id", "content", "title"], ["1", code, ""], ["", "y", "T"]])
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        rows = csv_rows(tmp_path, text.getvalue().encode(encoding))
        assert outcomes(rows) == [
            {"input_id": "1", "content": code},
            {"content": "y", "title": "T"},
        ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"input_id,content\na,x,y\nb,z\n", ["ragged_row", {"input_id": "b", "content": "z"}]),
        (b"input_id,content\na\nb,z\n", ["ragged_row", {"input_id": "b", "content": "z"}]),
        (b'content\n"a"b\nz\n', ["broken_line", {"content": "z"}]),
        (b'content\nz\n"never closed\nmore\n', [{"content": "z"}, "broken_line"]),
        (b"content\n" + b"\n" * 5000 + b"z\n", [{"content": "z"}]),
        (b"content\na\0b\nz\n", [{"content": "a\0b"}, {"content": "z"}]),
        (b"content\n\xff\nz\n", [{"content": "\udcff"}, {"content": "z"}]),
        (b"", []),
        (b"content\n", []),
    ],
    ids=range(9),
)
def test_a_bad_csv_row_costs_only_itself(tmp_path: Path, data: bytes, expected: list[Any]) -> None:
    """A row of another width, a stray quote, one that never closes: each is told, none is eaten."""
    assert outcomes(csv_rows(tmp_path, data)) == expected


def test_an_open_quote_says_which_lines_it_took(tmp_path: Path) -> None:
    """Whoever reads rejected.jsonl can find the quote."""
    rows = csv_rows(tmp_path, b'content\nz\n"open\n1\n2\n')
    assert "lines 3 to 5" in str(rows[1].row)


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    """One of the two would be lost without a word."""
    with pytest.raises(SourceError, match="two columns named 'content'"):
        csv_rows(tmp_path, b"content,content\na,b\n")


@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_a_source_error(data: bytes) -> None:
    """No other error leaves the CSV reader."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = csv_rows(Path(folder), b"content,title\n" + data)
        except SourceError:
            return
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))


@given(st.lists(st.tuples(FIELDS, FIELDS), max_size=5))
def test_what_csv_writes_comes_back(values: list[tuple[str, str]]) -> None:
    """Every row, every field, whatever is in it."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("content", "title"), *values])
    with tempfile.TemporaryDirectory() as folder:
        rows = csv_rows(Path(folder), text.getvalue().encode())
    assert outcomes(rows) == [
        {name: value for name, value in zip(("content", "title"), pair, strict=True) if value}
        for pair in values
    ]


def parquet_rows(folder: Path, table: pa.Table) -> list[NumberedRow]:
    path = folder / "in.parquet"
    pq.write_table(table, path)
    return list(read_source(str(path)))


def test_every_kind_of_column_survives(tmp_path: Path) -> None:
    """Nested, decimal, time, binary, huge and missing values become JSON or text."""
    moment = dt.datetime(2026, 11, 24, 1, 30, tzinfo=dt.UTC)
    table = pa.table(
        {
            "input_id": pa.array([1, 2], pa.int64()),
            "content": pa.array([b"x = 1", b"y = 2"], pa.binary()),
            "path": pa.array(["a.py", "b.py"]).dictionary_encode(),
            "expected": pa.array([[{"start_line": 1}], []]),
            "price": pa.array([Decimal("1.50"), None]),
            "when": pa.array([moment, None], pa.timestamp("us", tz="UTC")),
            "day": pa.array([moment.date(), None]),
            "wait": pa.array([dt.timedelta(seconds=3), None]),
            "blob": pa.array([b"\xff\x00", None]),
            "ratio": pa.array([float("nan"), float("inf")]),
            "half": pa.array([1.5, None], pa.float16()),
            "tags": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            "big": pa.array([2**64 - 1, None], pa.uint64()),
            "deep": pa.array([{"a": [{"b": Decimal("2.5")}]}, None]),
        }
    )
    first, second = (read_input(row.row) for row in parquet_rows(tmp_path, table))
    assert (first.input_id, first.content, first.path) == ("1", "x = 1", "a.py")
    assert first.expected
    assert first.expected[0].start_line == 1
    assert second.expected == ()
    assert first.extra == {
        "price": "1.50",
        "when": "2026-11-24T01:30:00+00:00",
        "day": "2026-11-24",
        "wait": "0:00:03",
        "blob": "/wA=",
        "ratio": None,
        "half": 1.5,
        "tags": [["k", 1]],
        "big": "18446744073709551615",
        "deep": {"a": [{"b": "2.5"}]},
    }
    assert second.extra["ratio"] == "inf"


def test_ids_of_a_pandas_column_with_gaps(tmp_path: Path) -> None:
    """7.0 is the id 7, NaN is no id, and a float too large to be sure of is refused."""
    table = pa.table({"input_id": [7.0, float("nan"), 1e17], "content": ["a", "b", "c"]})
    rows = parquet_rows(tmp_path, table)
    assert read_input(rows[0].row).input_id == "7"
    assert len(read_input(rows[1].row).input_id) == 32
    with pytest.raises(RowError, match="whole number"):
        read_input(rows[2].row)


def test_a_value_without_a_python_form_costs_only_its_row(tmp_path: Path) -> None:
    """Text that is not UTF-8, a date beyond the calendar: rejected with the column's name."""
    broken = pa.array([b"ok", b"\xff", b"ok"], pa.binary()).view(pa.binary())
    text = pa.StringArray.from_buffers(3, *broken.buffers()[1:], broken.buffers()[0])
    far = pa.array([0, 0, 2**62], pa.int64()).view(pa.timestamp("us"))
    rows = parquet_rows(tmp_path, pa.table({"content": text, "when": far}))
    assert [isinstance(row.row, RowError) for row in rows] == [False, True, True]
    assert "column content" in str(rows[1].row)
    assert "column when" in str(rows[2].row)


def test_parquet_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    """One of the two would be lost without a word."""
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["content", "content"])
    with pytest.raises(SourceError, match="two columns named"):
        parquet_rows(tmp_path, table)


def test_damaged_parquet_is_a_source_error(tmp_path: Path) -> None:
    """Cut anywhere, it is refused as a whole and no traceback is shown."""
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"content": [f"x{n}" for n in range(100)]}), path)
    whole = path.read_bytes()
    for length in (0, 3, 4, 12, len(whole) // 2, len(whole) - 5, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(SourceError, match=r"in\.parquet"):
            list(read_source(str(path)))


SCHEMA = pa.schema(
    {
        "content": pa.string(),
        "input_id": pa.string(),
        "n": pa.uint64(),
        "d": pa.decimal128(20, 3),
        "t": pa.timestamp("us"),
        "l": pa.list_(pa.binary()),
    }
)
PARQUET_ROWS = st.fixed_dictionaries(
    {},
    optional={
        "content": FIELDS | st.none(),
        "input_id": FIELDS | st.none(),
        "n": st.integers(0, 2**64 - 1) | st.none(),
        "d": st.integers(-(10**9), 10**9).map(Decimal),
        "t": st.datetimes(),
        "l": st.lists(st.binary(max_size=4), max_size=3),
    },
)


@given(st.lists(PARQUET_ROWS, min_size=1, max_size=5))
def test_any_table_is_inputs_or_row_errors(values: list[dict[str, Any]]) -> None:
    """A row becomes an input that reads the same after it was stored, or has a reason."""
    with tempfile.TemporaryDirectory() as folder:
        rows = parquet_rows(Path(folder), pa.Table.from_pylist(values, schema=SCHEMA))
    assert len(rows) == len(values)
    for row, value in zip(rows, values, strict=True):
        if (value.get("content") or "").strip():
            item = read_input(row.row)
            assert stored_input(orjson.dumps(item)) == item
        else:
            with pytest.raises(RowError, match="content"):
                read_input(row.row)
