"""Tables as other tools write them (tests/data/cases/tables): read right, or refused with a remedy."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.core.errors import RowError, SourceError
from tasks.load.rows import read_input
from tasks.load.sources import read_source

CASES = Path(__file__).parents[2] / "data" / "cases" / "tables"


def _rows(path: Path) -> list[Any]:
    """The id of each row, or the code of its error."""
    return [
        row.row.code if isinstance(row.row, RowError) else row.row["input_id"]
        for row in read_source(str(path))
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unescaped-quotes.csv", ["broken_line", "j2"]),
        ("joined.csv", ["j1", "j2"]),
        ("emptied-columns.csv", ["j1"]),
        ("joined.jsonl", ["j1", "j2"]),
    ],
)
def test_rows_are_those_of_the_table(name: str, expected: list[str]) -> None:
    """No line inside of a field and no repeated header becomes an input."""
    assert _rows(CASES / name) == expected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("backslash-quotes.csv", r"line 3: .* backslashes; write them doubled"),
        ("semicolons.csv", r"separated by ';': save it as CSV UTF-8"),
        ("sep-line.csv", r"separated by ';': save it as CSV UTF-8"),
        ("tabs.csv", r"separated by tabs: save it as CSV UTF-8"),
    ],
)
def test_a_file_of_another_form_is_refused_once(name: str, said: str) -> None:
    """One message for the file names the cause and what to do."""
    with pytest.raises(SourceError, match=said):
        _rows(CASES / name)


def test_another_encoding_is_named() -> None:
    """A row whose bytes are no UTF-8 says what to save."""
    (row,) = read_source(str(CASES / "latin-1.csv"))
    with pytest.raises(RowError, match="save the source as UTF-8"):
        read_input(row.row)


def test_ids_of_data_bases(tmp_path: Path) -> None:
    """Decimals without a fraction and UUIDs are ids; a fraction is none."""
    table = pa.table(
        {
            "input_id": pa.array([Decimal(7), Decimal(10) ** 30], pa.decimal128(38, 0)),
            "content": ["x", "y"],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    items = [read_input(row.row).input_id for row in read_source(str(tmp_path / "in.parquet"))]
    assert items == ["7", "1" + "0" * 30]
    one = UUID(int=9)
    assert read_input({"content": "x", "input_id": one}).input_id == str(one)
    assert read_input({"content": "x", "input_id": Decimal("7.00")}).input_id == "7"
    for wrong in (Decimal("7.5"), Decimal("NaN"), Decimal("1e999999")):
        with pytest.raises(RowError) as caught:
            read_input({"content": "x", "input_id": wrong})
        assert caught.value.code == "bad_id"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["data-0.arrow", "dataset_info.json", "state.json"], "saved as Parquet"),
        (["part-0.snappy.parquet", "_SUCCESS", ".part-0.snappy.parquet.crc"], "part-0.snappy"),
        (["README.md", "train/a.jsonl", "test/b.jsonl"], "b.jsonl"),
    ],
)
def test_a_data_set_is_no_folder_of_code(tmp_path: Path, names: list[str], said: str) -> None:
    """It is refused with the file that can be given; one file of code makes it a folder of code."""
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match=f"data set.*{said}"):
        list(read_source(str(tmp_path)))
    (tmp_path / "run.py").write_text("x = 1\n")
    assert "run.py" in [
        row.row["input_id"] for row in read_source(str(tmp_path)) if isinstance(row.row, dict)
    ]


def test_a_pointer_in_a_folder_has_its_reason(tmp_path: Path) -> None:
    """A file that Git LFS keeps elsewhere is not reviewed."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 3\n"
    (tmp_path / "model.bin").write_text(pointer)
    (row,) = read_source(str(tmp_path))
    assert row.row.code == "lfs_pointer"
