"""The answer about a canary is of the run that asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from deployments.sandbox import Sandbox
from tasks.core.canary_settings import CANARY

CONFIG = """
[[check]]
name = "one"
model = "c1"
[review]
model = "r1"
"""
ROWS = [
    {"input_id": "own", "content": "def first():\n    return 1\n"},
    {"input_id": "own 1f", "content": "def second():\n    return 2\n", CANARY: True},
]


def test_a_canary_is_asked_anew_and_an_input_is_not(
    sandbox: Sandbox, review_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    """In the next run, its check and its review; within a run its answers are asked for once."""
    raised = [
        {"existing_code": "    return 2", "title": "Two", "message": "Two.", "category": "bug"}
    ]
    sandbox.control(
        models={"c1": {"skill": "scripted"}, "r1": {"skill": "scripted"}},
        answers=[
            {"match": "def second", "model": "c1", "comments": raised},
            {"model": "r1", "verdicts": [{"decision": "confirmed", "score": 8}]},
        ],
    )
    start = time.time()
    review_rows(ROWS, CONFIG, run_id="first", started=start)
    assert sandbox.stats()["requests"] == 3
    review_rows(ROWS, CONFIG, run_id="first", started=start)
    assert sandbox.stats()["requests"] == 3
    own, canary = review_rows(ROWS, CONFIG, run_id="second", started=time.time())
    assert sandbox.stats()["requests"] == 5
    assert [call["journaled"] for call in canary["calls"]] == [False, False]
    assert own["calls"][0]["journaled"]
    assert canary["comments"][0]["outcome"] == "kept"
