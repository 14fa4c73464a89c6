"""Whole runs through the sandbox's Batch API: the same reviews as online, at half the price."""

from __future__ import annotations

import json
import os
import signal
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from deployments.sandbox import Sandbox
from tasks.core.settings import load_settings
from tasks.estimate.estimate import estimate
from tasks.estimate.loads import load_cost
from tests.conftest import Job
from tests.runs import await_condition, config, numbered, whole

MakeJob = Callable[..., Job]

PRICES = "".join(
    f'[prices."{model}"]\ninput = 1.0\noutput = 4.0\n'
    for model in ("check-1", "check-2", "review-1")
)
BATCH = """
[batch]
min_calls = 20
poll = "1s"
"""


def batched(sandbox: Sandbox, batch: str = BATCH) -> str:
    """Settings whose first key has batches, and whose models have the sandbox's prices."""
    text = config(sandbox, review=True).replace(
        'key = "env:KEY_A"', 'batch = true\nkey = "env:KEY_A"'
    )
    return text + PRICES + batch


def outcome(folder: Path) -> dict[str, Any]:
    """Every output but for ways, batches and money."""
    found = whole(folder)
    aside = {"via", "batch_id", "cost_usd"}
    return found | {
        "calls": [{n: v for n, v in row.items() if n not in aside} for row in found["calls"]]
    }


def assert_estimated(source: Path, rows: list[dict[str, Any]], text: str, folder: Path) -> None:
    """The estimate of the checks, by their usual replies, is within 2 % of what they cost."""
    checks = [row for row in rows if row["stage"] == "check"]
    replies = {
        name: statistics.mean(row["output_tokens"] for row in checks if row["name"] == name)
        for name in ("one", "two")
    }
    for name, tokens in replies.items():
        text = text.replace(f'name = "{name}"', f'name = "{name}"\nexpected_tokens = {tokens:.0f}')
    settings = load_settings(text.replace('"state"', f'"{folder}/nothing"'))
    found = estimate(str(source), settings, None, fresh=False)
    loads = [load for load in found.loads if load.name in replies]
    batch = sum(load_cost(load, settings.prices, "batch") or 0.0 for load in loads)
    assert found.batched >= {"check-1", "check-2"}
    assert batch == pytest.approx(sum(row["cost_usd"] for row in checks), rel=0.02)


@pytest.mark.parametrize("inputs", [60, pytest.param(2000, marks=pytest.mark.chaos)])
def test_a_night_by_batch(sandbox: Sandbox, make_job: MakeJob, tmp_path: Path, inputs: int) -> None:
    """No call goes online, the reviews are those of a run without batches, the bill is half of its."""
    sandbox.control(batch={"seconds": 0})
    source = numbered(tmp_path / "inputs.jsonl", inputs)
    job = make_job(batched(sandbox))
    ended = job.run(source)
    assert ended.code == 0, ended.err
    bill = sandbox.bill()
    assert bill["tiers"]["online"]["calls"] == sandbox.stats()["requests"] == 0
    assert bill["tiers"]["batch"]["calls"] >= 2 * inputs
    assert sandbox.batch_log()["files"] == []

    facts = json.loads((job.output / "manifest.json").read_text())
    assert {one["model"] for one in facts["batches"]} == {"check-1", "check-2", "review-1"}
    assert sum(one["answered"] for one in facts["batches"]) == bill["tiers"]["batch"]["calls"]
    assert facts["figures"]["cost_usd"] == pytest.approx(bill["usd"], rel=0.02)
    rows = pq.read_table(job.output / "calls.parquet").to_pylist()
    asked = [row for row in rows if row["status"] == "ok"]
    assert {row["via"] for row in asked} == {"batch"}
    assert {row["batch_id"] for row in asked} == {one["batch_id"] for one in facts["batches"]}
    assert not any(row["journaled"] for row in asked)
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["bulk-review-batches"]))
        tables = client.read_artifacts(artifact_filter=wanted)
    table = max(tables, key=lambda one: str(one.created))
    shown = json.loads(str(table.data))
    assert {row["batch"] for row in shown} == {one["batch_id"] for one in facts["batches"]}
    for report in ("report.md", "report.html"):
        text = (job.output / report).read_text()
        assert facts["batches"][0]["batch_id"] in text
        assert "paid by batch" in text

    assert_estimated(source, rows, batched(sandbox), job.folder)

    (job.folder / "review.toml").write_text(batched(sandbox).replace('"state"', '"other"'))
    online = job.folder / "apart" / "online"
    ended = job.run(source, "--batch", "never", output=online)
    assert ended.code == 0, ended.err
    paid = sandbox.bill()["tiers"]
    assert paid["online"]["calls"] == paid["batch"]["calls"]
    assert paid["batch"]["usd"] * 2 == pytest.approx(paid["online"]["usd"])
    assert outcome(job.output) == outcome(online)


@pytest.mark.chaos
def test_stopped_and_killed_while_it_waits(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path
) -> None:
    """Ctrl-C says what works on; neither it nor kill -9 loses a batch, and the next run asks nothing twice."""
    sandbox.control(batch={"seconds": 1000})
    source = numbered(tmp_path / "inputs.jsonl", 60)
    job = make_job(batched(sandbox))
    process = job.start(source)
    looks = lambda: sandbox.stats()["batches"]["calls"].get("get", 0)  # noqa: E731
    await_condition(lambda: looks() >= 3, "both checks are handed in")
    os.killpg(process.pid, signal.SIGINT)
    _, complained = process.communicate(timeout=90)
    assert process.returncode == 130
    assert "2 batches go on at the provider" in complained
    process = job.start(source)
    looked = looks()
    await_condition(lambda: looks() > looked + 2, "it waits")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert sandbox.stats()["batches"]["made"] == 2
    sandbox.advance(5000)
    sandbox.control(batch={"seconds": 0})
    ended = job.run(source)
    assert ended.code == 0, ended.err
    assert sandbox.stats()["requests"] == 0
    assert sandbox.bill()["questions_twice"] == 0
    assert {one["state"] for one in sandbox.batch_log()["batches"]} == {"completed"}
    assert sandbox.batch_log()["files"] == []
