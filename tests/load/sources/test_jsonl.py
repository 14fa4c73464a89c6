from __future__ import annotations

import codecs
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import RowError, SourceError
from tasks.load.sources import NumberedRow, read_source
from tasks.load.sources.opening import MAX_LINE

GOOD = b'{"content": "x"}\n'


def rows_of(tmp_path: Path, data: bytes, name: str = "in.jsonl") -> list[NumberedRow]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(read_source(str(path)))


def outcome(row: NumberedRow) -> Any:
    return row.row.code if isinstance(row.row, RowError) else row.row


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"content": "x"', "not JSON"),
        (b"\0\0\0\0", "not JSON"),
        (b'{"content": "a"} {"content": "b"}', "goes on behind"),
        (b'{"content": "a", "content": "b"}', "'content' stands twice"),
        (b'{"content": "a", "expected": [{"path": "a", "path": "b"}]}', "'path' stands twice"),
        (b'{"content": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "deeper than 500 levels"),
        (b'{"content": ' + b"[" * 500 + b"]" * 500 + b"}", "deeper than 500 levels"),
        (b'{"content": "x", "n": ' + b"9" * 5_000 + b"}", "not JSON"),
        ("\N{NO-BREAK SPACE}".encode(), "not JSON"),
        (b"\xff\xfe", "not JSON"),
    ],
    ids=range(10),
)
def test_a_broken_line_costs_only_itself(tmp_path: Path, line: bytes, said: str) -> None:
    """It is yielded with its line number, why, and how it begins; its neighbours are read."""
    rows = rows_of(tmp_path, GOOD + line + b"\n" + GOOD)
    assert [row.number for row in rows] == [1, 2, 3]
    assert [outcome(row) for row in rows] == [{"content": "x"}, "broken_line", {"content": "x"}]
    assert said in str(rows[1].row)
    assert len(str(rows[1].row)) <= 300
    assert 0 < len(rows[1].snippet) <= 200


def test_a_line_beyond_the_limit_is_rejected_and_the_next_one_read(tmp_path: Path) -> None:
    """One endless line must neither fill the memory nor swallow its neighbour."""
    for length in (MAX_LINE - 1, MAX_LINE, 2 * MAX_LINE):
        long = b'"' + b"a" * (length - 2) + b'"'
        rows = rows_of(tmp_path, long + b"\n" + GOOD)
        assert [row.number for row in rows] == [1, 2], length
        assert (outcome(rows[0]) == "broken_line") == (length >= MAX_LINE), length
        assert rows[1].row == {"content": "x"}, length


def test_a_line_of_10_mb_is_read(tmp_path: Path) -> None:
    """Whether a row is too long for a model is not the reader's business."""
    line = json.dumps({"content": "x" * 10_000_000}).encode()
    assert len(rows_of(tmp_path, line)[0].row["content"]) == 10_000_000


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "be-marked"],
)
def test_encodings_by_mark_and_without(tmp_path: Path, encoding: str) -> None:
    """What Windows tools write reads the same as UTF-8."""
    text = '{"content": "é \N{SNAKE}"}\r\n\r\n{"content": "b"}\r\n'
    data = (
        codecs.BOM_UTF16_BE + text.encode("utf-16-be")
        if encoding == "be-marked"
        else text.encode(encoding)
    )
    rows = rows_of(tmp_path, data)
    assert [row.row for row in rows] == [{"content": "é \N{SNAKE}"}, {"content": "b"}]
    assert [row.number for row in rows] == [1, 3]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_bytes_that_are_no_text_are_never_replaced(tmp_path: Path, encoding: str) -> None:
    """They stay visible as lone surrogates, which validation refuses."""
    bad = {"utf-8": b"\xff", "utf-16-le": b"\x00\xd8"}[encoding]
    quoted = '{"content": "'.encode(encoding), '"}\n'.encode(encoding)
    rows = rows_of(tmp_path, bad.join(quoted) + '{"content": "y"}'.encode(encoding))
    assert "\udcff" in rows[0].row["content"]
    assert rows[1].row == {"content": "y"}


def test_separators_inside_text_do_not_split_lines(tmp_path: Path) -> None:
    """U+2028 and form feeds are part of a string; only newlines end rows."""
    rows = rows_of(tmp_path, json.dumps({"content": "a\u2028b\x0c"}, ensure_ascii=False).encode())
    assert [row.row for row in rows] == [{"content": "a\u2028b\x0c"}]


def test_gzip_is_read_and_a_torn_one_refused(tmp_path: Path) -> None:
    """A half copied archive must not pass for a short night."""
    packed = gzip.compress(GOOD * 1000)
    assert len(rows_of(tmp_path, packed, "in.jsonl.gz")) == 1000
    for broken in (packed[:-20], GOOD, packed[:40] + b"\0\0\0\0" + packed[44:]):
        with pytest.raises(SourceError, match=r"in\.jsonl\.gz cannot be read"):
            rows_of(tmp_path, broken, "in.jsonl.gz")


@given(st.binary(max_size=300))
def test_any_bytes_give_a_row_per_line(data: bytes) -> None:
    """Nothing but rows and RowErrors comes out, one for each line that is not empty."""
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(Path(folder), b"{}\n" + data)
    lines = (b"{}\n" + data).split(b"\n")
    assert [row.number for row in rows] == [
        number for number, line in enumerate(lines, 1) if line.strip(b" \t\r\n")
    ]


@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        ),
        max_size=5,
    )
)
def test_what_json_writes_comes_back(values: list[Any]) -> None:
    """Reading loses and changes nothing, lone surrogates included."""
    data = "".join(json.dumps(value) + "\n" for value in values).encode()
    with tempfile.TemporaryDirectory() as folder:
        assert [row.row for row in rows_of(Path(folder), data)] == values
