"""The records of a finished run, from the rows that they were stored as."""

from __future__ import annotations

import orjson

from tasks.core.records import CallRow, Comment, Expected, Input, InputReview, Row, Verdict

__all__ = ["comment_of", "input_of", "review_of", "stored_input"]


def comment_of(row: Row) -> Comment:
    """The comment of an item of `comments` in reviews.parquet."""
    verdict = row["verdict"]
    return Comment(
        **{
            **row,
            "check_models": tuple(row["check_models"] or ()),
            "verdict": None if verdict is None else Verdict(**verdict),
        }
    )


def input_of(row: Row, content: str, description: str | None = None) -> Input:
    """The input of a row of reviews.parquet, `extra` read from its JSON; the row lacks the two texts."""
    expected = row["expected"]
    return Input(
        input_id=row["input_id"],
        content=content,
        kind=row["kind"],
        path=row["path"],
        language=row["language"],
        title=row["title"],
        description=description,
        expected=None if expected is None else tuple(Expected(**one) for one in expected),
        extra=row["extra"],
    )


def review_of(row: Row) -> InputReview:
    """The review of a row of reviews.parquet."""
    return InputReview(
        row["input_id"],
        row["coverage"],
        row["coverage_reason"],
        tuple(map(comment_of, row["comments"])),
        tuple(CallRow(input_id=row["input_id"], **call) for call in row["calls"]),
    )


def stored_input(line: bytes) -> Input:
    """The input of a line of inputs.jsonl; it was validated when it was loaded."""
    row = orjson.loads(line)
    if row["expected"] is not None:
        row["expected"] = tuple(Expected(**item) for item in row["expected"])
    return Input(**row)
