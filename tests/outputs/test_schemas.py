"""The columns of the outputs, as readers of files of earlier versions know them."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tasks.outputs.schemas import SCHEMAS

COMMENT_COLUMNS = {
    **dict.fromkeys(("start_line", "end_line", "agreement", "verdict_score"), "int32"),
    **dict.fromkeys(("verdict_corrected_start_line", "verdict_corrected_end_line"), "int32"),
    "confidence": "double",
    "check_models": "list<item: string>",
}
CALL_COLUMNS = {
    **dict.fromkeys(("part", "dropped_items", "attempts"), "int32"),
    **dict.fromkeys(("latency_ms", "first_token_ms", "queue_ms"), "int64"),
    **dict.fromkeys(("counted_tokens", "input_tokens", "output_tokens"), "int64"),
    **dict.fromkeys(("cached_tokens", "reasoning_tokens", "cache_write_tokens"), "int64"),
    **dict.fromkeys(("started_at", "cost_usd"), "double"),
    **dict.fromkeys(("journaled", "counted_exact"), "bool"),
}


@pytest.mark.parametrize(
    ("table", "others", "count"), [("comments", COMMENT_COLUMNS, 36), ("calls", CALL_COLUMNS, 34)]
)
def test_columns_keep_their_types(table: str, others: dict[str, str], count: int) -> None:
    """A column of another type than text is one that was declared so; a new one is told here."""
    schema = SCHEMAS[table]
    types = {field.name: str(field.type) for field in schema}
    assert {name: kind for name, kind in types.items() if kind != "string"} == others
    assert len(schema) == count


def test_the_nested_table_has_what_the_flat_ones_have() -> None:
    """Comments and calls nested in reviews.parquet have the columns and types of their own tables."""
    reviews = SCHEMAS["reviews"]
    for name in ("comments", "calls"):
        nested = {field.name: field.type for field in reviews.field(name).type.value_type}
        verdict = nested.pop("verdict", pa.struct([]))
        flat = nested | {f"verdict_{field.name}": field.type for field in verdict}
        table = {field.name: field.type for field in SCHEMAS[name]}
        assert flat == {k: v for k, v in table.items() if k not in {"input_id", "run_id"}}
