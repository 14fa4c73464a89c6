"""What a shard collects for batches, and what it finishes first when they came too late."""

from __future__ import annotations

import logging
import threading
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from pydantic import SecretStr

from deployments.sandbox import Sandbox
from tasks.core.calls import Refused
from tasks.core.paths import RunPaths, ShardPaths
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.infer.collect import Collected, collect_questions
from tasks.infer.shard_worker import ShardWorker, open_shard_worker
from tasks.load.rows import read_input
from tasks.upstream.batches.questions import read_questions
from tasks.upstream.batches.store import open_batches

CONFIG = """
state = "{state}"
[app_ids.a]
key = "env:K"
base_url = "{url}"
quota = []
batch = true
[[check]]
name = "one"
model = "check-1"
[[check]]
name = "two"
model = "check-2"
{more}
[review]
model = "review-1"
"""
KEYS = {"a": SecretStr("key-a")}


class Bench:
    """A shard of five inputs on the sandbox."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.shard: ShardPaths = RunPaths(folder / "run").shard(0)
        self.shard.root.mkdir(parents=True)
        rows = [
            {"input_id": f"i{n}", "content": f"def f{n}(rows):\n    return sum(rows) / {n}\n"}
            for n in range(5)
        ]
        lines = [orjson.dumps(read_input(row)) + b"\n" for row in rows]
        self.shard.inputs.write_bytes(b"".join(lines))
        self.write()

    def write(self, more: str = "", **fields: object) -> Run:
        """The run as the shard reads it."""
        state = self.folder / "state"
        text = CONFIG.format(state=state, url=self.sandbox.base_url, more=more)
        run = replace(Run("run-1", load_settings(text), str(state), 4), **fields)
        run.write(self.shard.settings)
        return run

    def collect(self) -> tuple[Collected, list[str]]:
        """A pass; counts, and the model of each question."""
        found = collect_questions(self.shard)
        asked = list(read_questions([self.shard.questions]))
        assert len({one.key for one in asked}) == len(asked) == found.questions
        return found, [one.model for one in asked]

    def worker(self) -> AbstractContextManager[ShardWorker]:
        """A worker of the shard."""
        return open_shard_worker(self.shard, KEYS, logging.getLogger("test"), threading.Event())

    def answer(self, *models: str) -> None:
        """Have the last collected questions of these models answered."""
        with self.worker() as worker:
            for one in read_questions([self.shard.questions]):
                if one.model in models:
                    worker.caller.call(one)


@pytest.fixture
def bench(sandbox: Sandbox, tmp_path: Path) -> Bench:
    """A shard whose questions nobody has answered."""
    return Bench(sandbox, tmp_path)


def test_checks_first_then_reviews_then_nothing(sandbox: Sandbox, bench: Bench) -> None:
    """Nothing is called, no part is written; a review is asked when all checks of its input are answered."""
    found, models = bench.collect()
    assert sorted(models) == ["check-1"] * 5 + ["check-2"] * 5
    assert (found.inputs, found.open_inputs) == (5, 5)
    bench.answer("check-1")
    assert bench.collect()[1] == ["check-2"] * 5
    bench.answer("check-2")
    found, models = bench.collect()
    assert set(models) == {"review-1"}
    assert found.open_inputs == 0
    bench.answer("review-1")
    asked = sandbox.stats()["requests"]
    assert bench.collect()[1] == []
    assert sandbox.stats()["requests"] == asked
    with bench.worker() as worker:
        worker.review_slice(0, 5)
        assert worker.progress.snapshot().failed == 0
    assert sandbox.stats()["requests"] == asked


def test_what_a_batch_was_refused_is_a_failed_cell_with_its_reason(
    sandbox: Sandbox, bench: Bench
) -> None:
    """It is not collected again and not called; the reviews of the other check go on."""
    bench.collect()
    question = next(q for q in read_questions([bench.shard.questions]) if q.model == "check-1")
    run = bench.write(batched=True)
    said = Refused("content_filter", "HTTP 400: filtered", "a", sandbox.base_url, "batch_7")
    with open_batches(run.batches) as store:
        store.refuse(run.run_id, {question.key: said})
    assert sorted(bench.collect()[1]) == ["check-1"] * 4 + ["check-2"] * 5
    bench.answer("check-1", "check-2")
    assert bench.collect()[0].open_inputs == 0
    bench.answer("review-1")
    asked = sandbox.stats()["requests"]
    with bench.worker() as worker:
        worker.review_slice(0, 5)
    reviews = [orjson.loads(line) for line in bench.shard.part(0).read_bytes().splitlines()]
    failed = [row for one in reviews for row in one["calls"] if row["status"] == "failed"]
    assert [(row["name"], row["reason"], row["via"], row["batch_id"]) for row in failed] == [
        ("one", "content_filter", "batch", "batch_7")
    ]
    assert sandbox.stats()["requests"] == asked


def test_reviews_of_finished_checks_go_first_when_it_is_late(
    sandbox: Sandbox, bench: Bench
) -> None:
    """Before any check is asked, what has its checks is reviewed; then the rest is asked."""
    bench.collect()
    bench.answer("check-1")
    bench.collect()
    *answered, _ = read_questions([bench.shard.questions])
    bench.write(batched=True, reviews_first=True)
    with bench.worker() as worker:
        for one in answered:
            worker.caller.call(one)
        before = sandbox.stats()["requests"]
        worker.finish_reviews()
        asked = [row["model"] for row in sandbox.log()[before:]]
        assert asked
        assert set(asked) == {"review-1"}
        worker.review_slice(0, 5)
        assert worker.progress.snapshot().failed == 0


def test_after_the_last_hour_cells_are_left_for_the_next_run(
    sandbox: Sandbox, bench: Bench
) -> None:
    """They fail as batch_late; what is in the journal counts."""
    bench.collect()
    bench.answer("check-1")
    asked = sandbox.stats()["requests"]
    bench.write(batched=True, give_up_at=1.0)
    with bench.worker() as worker:
        worker.review_slice(0, 5)
    reviews = [orjson.loads(line) for line in bench.shard.part(0).read_bytes().splitlines()]
    reasons = {(row["name"], row["reason"]) for one in reviews for row in one["calls"]}
    assert ("one", None) in reasons
    assert ("two", "batch_late") in reasons
    assert sandbox.stats()["requests"] == asked


def test_a_tool_is_run_when_the_models_have_answered(bench: Bench) -> None:
    """Its findings are among those that are reviewed, also on an input that no model has a word on."""
    text = "a marked finding of the tool"
    place = {"artifactLocation": {"uri": "src/t.py"}, "region": {"startLine": 2}}
    result = {"message": {"text": text}, "locations": [{"physicalLocation": place}]}
    run = {"tool": {"driver": {"name": "t"}}, "results": [{"ruleId": "R1", **result}]}
    path = bench.folder / "found.sarif"
    path.write_bytes(orjson.dumps({"version": "2.1.0", "runs": [run]}))
    row = {"input_id": "t", "path": "src/t.py", "content": "def t(rows):\n    return rows[0]\n"}
    bench.shard.inputs.write_bytes(orjson.dumps(read_input(row)) + b"\n")
    bench.write(f'[[check]]\nname = "tool"\nsarif = "{path}"\n')
    assert sorted(bench.collect()[1]) == ["check-1", "check-2"]
    bench.answer("check-1", "check-2")
    assert set(bench.collect()[1]) == {"review-1"}
    questions = read_questions([bench.shard.questions])
    assert any(text in str(one.messages) for one in questions)
