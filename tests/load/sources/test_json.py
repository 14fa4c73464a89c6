from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import RowError, SourceError
from tasks.load.sources import read_source


def rows_of(folder: Path, text: str, encoding: str = "utf-8") -> list[Any]:
    path = folder / "in.json"
    path.write_bytes(text.encode(encoding, "surrogatepass"))
    rows = list(read_source(str(path)))
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    return [row.row.code if isinstance(row.row, RowError) else row.row for row in rows]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"content": "a"}, 7, null]', [{"content": "a"}, 7, None]),
        ('{"a": {"content": "x"}}', [{"input_id": "a", "content": "x"}]),
        ('{"a": {"input_id": "own"}}', [{"input_id": "own"}]),
        ('{"a": {"input_id": null}}', [{"input_id": "a"}]),
        # A plain reader would keep the second only.
        ('{"a": {"n": 1}, "a": {"n": 2}}', [{"input_id": "a", "n": 1}, {"input_id": "a", "n": 2}]),
        ('[{"a": 1, "a": 2}, {"b": 1}]', ["broken_line", {"b": 1}]),
        ('[{"a": nope}, {"b": 1}]', ["broken_line", {"b": 1}]),
        ('[{"a": "}" oops}, {"b": "]"}]', ["broken_line", {"b": "]"}]),
        ("[" + "[" * 20_000 + "]" * 20_000 + ', {"b": 1}]', ["broken_line", {"b": 1}]),
        ("[" + "[" * 501 + "]" * 501 + ', {"b": 1}]', ["broken_line", {"b": 1}]),
        ('[{"b": "' + "[" * 600 + '"}]', [{"b": "[" * 600}]),
        (" [ ] ", []),
        ("{}", []),
    ],
    ids=range(13),
)
def test_rows_are_read_one_by_one(tmp_path: Path, text: str, expected: list[Any]) -> None:
    """A list or a mapping; a broken row costs only itself, equal keys cost nothing."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert rows_of(tmp_path, text, encoding) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "neither a list nor a mapping"),
        ("7", "neither a list nor a mapping"),
        ('{"content": "a"}\n{"content": "b"}', "line 2: it goes on behind its end"),
        ('[{"a": 1}', "without a comma"),
        ('[{"a": 1} {"b": 1}]', "without a comma"),
        ('[{"a": 1},]', "no beginning or no end"),
        ("[", "no beginning or no end"),
        ('{"a" 1}', "a key without a value"),
        ("{a: 1}", "a key is missing"),
        ('{"a', "a key has no end"),
        ('[{"a": "', "no beginning or no end"),
    ],
)
def test_what_is_no_document_says_where(tmp_path: Path, text: str, said: str) -> None:
    """The message names the file, the line and where rows one a line belong."""
    with pytest.raises(SourceError, match=r"belongs in a \.jsonl file") as caught:
        rows_of(tmp_path, text)
    assert said in str(caught.value)
    assert "in.json " in str(caught.value)


@given(st.text(alphabet='[]{}",: \n\\ntrue1é\ud800', max_size=60))
def test_any_text_gives_rows_or_a_source_error(text: str) -> None:
    """No other error leaves the reader."""
    with tempfile.TemporaryDirectory() as folder, suppress(SourceError):
        rows_of(Path(folder), text)


@given(
    st.lists(st.dictionaries(st.text(), st.text() | st.integers()), max_size=6), st.integers(0, 4)
)
def test_both_shapes_agree_with_the_standard_reader(
    rows: list[dict[str, Any]], indent: int
) -> None:
    """However it is indented."""
    with tempfile.TemporaryDirectory() as folder:
        assert rows_of(Path(folder), json.dumps(rows, indent=indent)) == rows
        mapping = {str(at): row for at, row in enumerate(rows)}
        assert rows_of(Path(folder), json.dumps(mapping, indent=indent)) == [
            row if row.get("input_id") is not None else row | {"input_id": key}
            for key, row in mapping.items()
        ]
