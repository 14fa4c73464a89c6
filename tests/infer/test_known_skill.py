"""Models of known skill on the samples: every figure is the one that they were built to have."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deployments.sandbox import Sandbox
from tasks.core.records import InputReview
from tasks.finished.evaluate.evaluation import score_run
from tasks.finished.evaluate.metrics import HITS
from tasks.load.rows import read_input
from tasks.outputs.stored import comment_of
from tests.known_skill import CHECKS, REVIEW, by_checks, figures, script

SAMPLES = Path(__file__).parents[2] / "data" / "samples" / "samples.jsonl"
CONFIG = "".join(
    f'[[check]]\nname = "{name}"\nmodel = "{name}"\n' for name in CHECKS
) + f'[review]\nmodel = "{REVIEW}"\n'  # fmt: skip


def test_figures_are_those_that_the_models_were_built_to_have(
    sandbox: Sandbox, review_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    """By place, and by place and matter; before and after review; of each check and of all.

    Prompts, replies, anchors, clusters, verdicts and policy are a run's own; the figures are counted
    without them.
    """
    rows = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
    inputs = {one.input_id: one for one in map(read_input, rows)}
    items = [*inputs.values()]
    sandbox.control(
        models={name: {"skill": "scripted"} for name in (*CHECKS, REVIEW)}, answers=script(items)
    )
    reviews = [
        InputReview(
            one["input_id"], one["coverage"], None, tuple(map(comment_of, one["comments"])), ()
        )
        for one in review_rows(rows, CONFIG)
    ]
    found = score_run(((inputs[one.input_id], one) for one in reviews), [*CHECKS])
    assert found.scored_inputs == len(items)
    names = [(name, found.checks[name].alone, (name,)) for name in CHECKS]
    for name, scores, checks in [("all", found.union, (*CHECKS,)), *names]:
        for after in (False, True):
            built = figures(items, by_checks(*checks, after=after))
            got = {
                hit: asdict(scores.of(hit).after if after else scores.of(hit).before)
                for hit in HITS
            }
            assert got == built, (name, after)
    # The script is worth asking: hits and asides, misses and false alarms, by either meaning.
    before, after = (figures(items, by_checks(*CHECKS, after=one)) for one in (False, True))
    assert before["by_place"]["true"] > before["by_place_and_matter"]["true"]
    assert all(after[hit][name] for hit in HITS for name in ("true", "false", "missed"))
