"""A server that misbehaves, met by a whole run: it ends complete without help, or says why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from deployments.sandbox import Sandbox
from tests.conftest import Job
from tests.runs import PASSING, config, numbered, whole

MakeJob = Callable[..., Job]

LASTING = {
    "status_400": "bad_request",
    "context_length": "context_length",
    "content_policy": "content_filter",
    "content_filter": "content_filter",
    "refusal": "refusal",
    "huge": "too_large",
}
"""Faults that come back however often one asks, with the reason that they end under."""

HEAD = "timeout = 3\nstream_idle_timeout = 1"


@pytest.mark.parametrize("seed", [11])
def test_a_fifth_of_all_answers_is_faulty(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path, seed: int
) -> None:
    """200 cells under fifteen kinds of faults at 20 %: complete, and as if there had been none."""
    source = numbered(tmp_path / "inputs.jsonl", 100)
    sandbox.control(seed=seed, faults=PASSING, hang_seconds=30, fault_wait=0.2)
    job = make_job(config(sandbox, head=HEAD))
    ended = job.run(source)
    assert ended.code == 0, ended.err
    seen = sandbox.stats()
    met = sum(seen["faults"].values())
    assert met >= 0.1 * seen["requests"]
    assert len(seen["faults"]) >= 12

    sandbox.reset()
    undisturbed = job.run(source, "--fresh", output=job.folder / "apart" / "undisturbed")
    assert undisturbed.code == 0, undisturbed.err
    assert undamaged(job.output) == undamaged(job.output, job.folder / "apart" / "undisturbed")


def undamaged(output: Path, compared: Path | None = None) -> dict[str, Any]:
    """
    The reviews whose replies came as they were meant. A model that is asked again because of its
    form is asked something else, and a mended reply may be shorter: those are set aside.
    """
    calls = pd.read_parquet(output / "calls.parquet")
    odd = set(calls[~calls["parse_mode"].isin(["schema", "json"])]["input_id"])
    document = whole(compared or output)["reviews.json"]
    assert len(odd) < 0.2 * len(document)
    return {name: review for name, review in document.items() if name not in odd}


def test_lasting_faults_have_their_reason(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path
) -> None:
    """Each ends its own cell under a stable reason, and no other one."""
    source = tmp_path / "marked.jsonl"
    rows = [
        {"input_id": name, "content": f"# [[sandbox:{name}]]\nx = {number}\n"}
        for number, name in enumerate([*LASTING, "none"])
    ]
    source.write_text("\n".join(map(json.dumps, rows)))
    job = make_job(config(sandbox))
    ended = job.run(source)
    assert ended.code == 3, ended.err
    calls = pd.read_parquet(job.output / "calls.parquet")
    found = {
        str(name): set(group["reason"].fillna("ok")) for name, group in calls.groupby("input_id")
    }
    assert found == {**{name: {reason} for name, reason in LASTING.items()}, "none": {"ok"}}
    facts = json.loads((job.output / "manifest.json").read_text())
    assert facts["counts"]["cells"] == {
        "planned": 14,
        "ok": 2,
        "failed": 12,
        "skipped": 0,
    }
