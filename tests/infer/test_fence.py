"""A defect of ours on one input costs its cells, and nothing of the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from deployments.sandbox import Sandbox
from tasks.core.records import CallRow, Verdict
from tasks.infer import ask, input_steps
from tasks.infer.storable import misfits
from tasks.outputs.schemas import CALLS, COMMENTS
from tests.factories import comment

Reviewer = Callable[..., list[dict[str, Any]]]

CHECK = (
    'mode = "check"\n[[check]]\nname = "one"\nmodel = "c1"\n[prices.c1]\ninput = 1\noutput = 1\n'
)
ROWS = [
    {"input_id": name, "content": f"x = {name!r}\n", "path": f"{name}.py"}
    for name in ("bad", "good")
]
FOUND = {"start_line": 1, "end_line": 1, "existing_code": "x =", "title": "Odd"}


def breaking(step: Callable[..., Any], bad: Callable[..., bool]) -> Callable[..., Any]:
    """A step of ours that has a defect on some of its arguments."""

    def broken(*args: Any, **kwargs: Any) -> Any:
        if bad(*args):
            msg = "no such case " + "x" * 9000
            raise IndexError(msg)
        return step(*args, **kwargs)

    return broken


def is_bad(*args: Any) -> bool:
    return "bad.py" in repr(args)


@pytest.mark.parametrize(
    "name", ["render_input", "count_tokens", "build_comment", "cluster", "apply_policy"]
)
def test_one_broken_input_fails_alone(
    sandbox: Sandbox,
    review_rows: Reviewer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    """Wherever it breaks, its cell fails with internal_error and a bounded traceback; the other is complete."""
    sandbox.control(models={"c1": {"skill": "scripted"}}, answers=[{"comments": [FOUND]}])

    monkeypatch.setattr(input_steps, name, breaking(getattr(input_steps, name), is_bad))
    bad, good = review_rows(ROWS, CHECK)
    assert [(call["status"], call["reason"]) for call in bad["calls"]] == [
        ("failed", "internal_error")
    ]
    assert (bad["coverage"], good["coverage"]) == ("failed", "complete")
    (line,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "IndexError" in line.getMessage()
    assert len(line.getMessage()) < 4000


def test_a_reply_that_breaks_our_parser_is_paid_for(
    sandbox: Sandbox, review_rows: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of the failed cell has the reply's tokens."""
    assert sandbox
    parse = breaking(input_steps.parse_comments, lambda *_: True)
    monkeypatch.setattr(input_steps, "parse_comments", parse)
    (review,) = review_rows(ROWS[:1], CHECK)
    (call,) = review["calls"]
    assert (call["status"], call["reason"]) == ("failed", "internal_error")
    assert call["cost_usd"] > 0


@pytest.mark.parametrize(
    "value",
    [{"attempts": 2**31}, {"input_tokens": 2**63}, {"latency_ms": 2**90}, {"trace_id": "\ud800"}],
)
def test_a_value_that_no_table_holds_fails_its_cell(
    sandbox: Sandbox,
    review_rows: Reviewer,
    monkeypatch: pytest.MonkeyPatch,
    value: dict[str, Any],
) -> None:
    """The other input is complete, and both have rows that the table takes."""
    assert sandbox
    made = ask.reply_row

    def huge(query: Any, *args: Any) -> CallRow:
        row = made(query, *args)
        return replace(row, **value) if query.input_id == "bad" else row

    monkeypatch.setattr(ask, "reply_row", huge)
    bad, good = review_rows(ROWS, CHECK)
    assert [(call["status"], call["reason"]) for call in bad["calls"]] == [
        ("failed", "internal_error")
    ]
    assert good["coverage"] == "complete"
    table = pa.Table.from_pylist([*bad["calls"], *good["calls"]], schema=CALLS)
    assert table.num_rows == 2


def test_bounds_are_those_of_the_columns() -> None:
    """Every whole number of the tables: the largest that the column takes is taken, one more is not."""
    row, found = CallRow("a", "check", "one", 0, "m", "ok"), comment("a")
    judged = replace(found, verdict=Verdict("m", "ok"))
    for record, schema, prefix in (
        (row, CALLS, ""),
        (judged, COMMENTS, ""),
        (judged.verdict, COMMENTS, "verdict_"),
    ):
        for name in record.__slots__:
            kind = (
                schema.field(f"{prefix}{name}").type if f"{prefix}{name}" in schema.names else None
            )
            if kind is None or not pa.types.is_integer(kind):
                continue
            most = 2 ** (kind.bit_width - 1) - 1
            assert list(misfits(replace(record, **{name: most}))) == []
            assert list(misfits(replace(record, **{name: most + 1}))) == [name]
