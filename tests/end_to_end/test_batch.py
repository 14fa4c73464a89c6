"""Whole runs through the sandbox's Batch API: the same reviews as online, at half the price."""

from __future__ import annotations

import json
import logging
import os
import signal
import statistics
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from pydantic import SecretStr

from deployments.sandbox import Sandbox
from tasks.core.paths import RunPaths
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.estimate.estimate import estimate
from tasks.estimate.loads import load_cost
from tasks.infer.shard_worker import open_shard_worker
from tasks.load.rows import read_input
from tests.conftest import KEYS, Job
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
    assert {"check-1", "check-2"} <= set(found.batched)
    assert batch == pytest.approx(sum(row["cost_usd"] for row in checks), rel=0.02)


def assert_by_batch(sandbox: Sandbox, output: Path, inputs: int) -> list[dict[str, Any]]:
    """No call went online, everything says so, and the cost is the bill; returns the calls."""
    bill = sandbox.bill()
    assert bill["tiers"]["online"]["calls"] == sandbox.stats()["requests"] == 0
    assert bill["tiers"]["batch"]["calls"] >= 2 * inputs
    assert sandbox.batch_log()["files"] == []

    facts = json.loads((output / "manifest.json").read_text())
    assert {one["model"] for one in facts["batches"]} == {"check-1", "check-2", "review-1"}
    assert sum(one["answered"] for one in facts["batches"]) == bill["tiers"]["batch"]["calls"]
    assert facts["figures"]["cost_usd"] == pytest.approx(bill["usd"], rel=0.02)
    rows = pq.read_table(output / "calls.parquet").to_pylist()
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
        text = (output / report).read_text()
        assert facts["batches"][0]["batch_id"] in text
        assert "paid by batch" in text
    return rows


def judged(comments: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What a run says of an input."""
    return [
        (one["comment_id"], one["title"], one["severity"], one["outcome"], one["verdict"])
        for one in comments
    ]


def reviewed_online(source: Path, text: str, folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What a shard says of each input whose calls all go online."""
    shard = RunPaths(folder / "online").shard(0)
    shard.root.mkdir(parents=True)
    lines = [read_input(json.loads(line)) for line in source.read_text().splitlines()]
    shard.inputs.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in lines))
    Run("online", load_settings(text), str(folder / "other"), 8).write(shard.settings)
    keys = {"alpha": SecretStr(KEYS["KEY_A"]), "bravo": SecretStr(KEYS["KEY_B"])}
    with open_shard_worker(shard, keys, logging.getLogger("test"), threading.Event()) as worker:
        worker.review_slice(0, worker.inputs)
    reviews = map(json.loads, shard.part(0).read_text().splitlines())
    return {one["input_id"]: judged(one["comments"]) for one in reviews}


def assert_half_the_bill(sandbox: Sandbox) -> None:
    """As many calls online as by batch, at twice the price."""
    paid = sandbox.bill()["tiers"]
    assert paid["online"]["calls"] == paid["batch"]["calls"]
    assert paid["batch"]["usd"] * 2 == pytest.approx(paid["online"]["usd"])


def test_a_night_by_batch(sandbox: Sandbox, make_job: MakeJob, tmp_path: Path) -> None:
    """No call goes online, the reviews are those of calls online, the bill is half of theirs."""
    sandbox.control(batch={"seconds": 0})
    source = numbered(tmp_path / "inputs.jsonl", 60)
    job = make_job(batched(sandbox))
    ended = job.run(source)
    assert ended.code == 0, ended.err
    rows = assert_by_batch(sandbox, job.output, 60)
    assert_estimated(source, rows, batched(sandbox), job.folder)
    online = reviewed_online(source, batched(sandbox), tmp_path)
    found = pq.read_table(job.output / "reviews.parquet").to_pylist()
    assert {one["input_id"]: judged(one["comments"]) for one in found} == online
    assert_half_the_bill(sandbox)


@pytest.mark.chaos
def test_a_large_night_by_batch(sandbox: Sandbox, make_job: MakeJob, tmp_path: Path) -> None:
    """2,000 inputs, two checks and a review: every value of every output is that of a run online."""
    sandbox.control(batch={"seconds": 0})
    source = numbered(tmp_path / "inputs.jsonl", 2000)
    job = make_job(batched(sandbox))
    ended = job.run(source)
    assert ended.code == 0, ended.err
    assert_by_batch(sandbox, job.output, 2000)
    (job.folder / "review.toml").write_text(batched(sandbox).replace('"state"', '"other"'))
    online = job.folder / "apart" / "online"
    ended = job.run(source, "--batch", "never", output=online)
    assert ended.code == 0, ended.err
    assert_half_the_bill(sandbox)
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
    process.communicate(timeout=60)
    assert sandbox.stats()["batches"]["made"] == 2
    sandbox.advance(5000)
    sandbox.control(batch={"seconds": 0})
    ended = job.run(source)
    assert ended.code == 0, ended.err
    assert sandbox.stats()["requests"] == 0
    assert sandbox.bill()["questions_twice"] == 0
    assert {one["state"] for one in sandbox.batch_log()["batches"]} == {"completed"}
    assert sandbox.batch_log()["files"] == []
