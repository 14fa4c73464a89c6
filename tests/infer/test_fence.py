"""A defect of ours on one input costs its cells, and nothing of the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from deployments.sandbox import Sandbox
from tasks.infer import input_steps

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
