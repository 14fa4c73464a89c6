"""Shards on other machines: a real Dask scheduler, real workers, one database, and what is killed."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterStartTime,
)
from prefect.client.schemas.objects import FlowRun

from deployments.sandbox import Sandbox
from tests.conftest import KEYS, Job, PrefectServer
from tests.operations.dask_workers import Workers
from tests.runs import await_condition, free_port, numbered

INPUTS, CHECKS, SHARDS, THREADS = 24, 2, 2, 4
QUOTA, WINDOW = 4, 2

MakeJob = Callable[..., Job]

CONFIG = """
mode = "check"
processes = {shards}
shards = {shards}
threads = {threads}
state = "{state}"
margin = 0.1
[workers]
scheduler = "{scheduler}"
scheduler_patience = {patience}
[app_ids.alpha]
key = "env:KEY_A"
base_url = "{url}"
quota = ["{quota}/{window}s"]
[app_ids.bravo]
key = "env:KEY_B"
base_url = "{url}"
quota = ["{quota}/{window}s"]
[[check]]
name = "one"
model = "check-1"
[[check]]
name = "two"
model = "check-2"
"""


@pytest.fixture(scope="module")
def all_workers(
    prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    """A scheduler; nobody works for it yet."""
    kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    lent = {"NIGHTLY_REVIEW_KEYS": "KEY_*"}
    environment = kept | prefect_server.environment | KEYS | lent
    made = Workers(tmp_path_factory.mktemp("workers"), free_port(), environment)
    made.start_scheduler()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def workers(all_workers: Workers) -> Workers:
    """Two are at work, a place each."""
    if all_workers.started["scheduler"].poll() is not None:
        all_workers.start_scheduler()
    all_workers.start("one", "two")
    return all_workers


@pytest.fixture
def job(make_job: MakeJob, sandbox: Sandbox, all_workers: Workers, database: str) -> Job:
    """A run whose windows are as tight as the sandbox's own."""
    sandbox.control(quota=[f"{QUOTA}/{WINDOW}s"], latency=0.2)
    return make_job(text(sandbox, all_workers.address, database))


def text(sandbox: Sandbox, scheduler: str, state: str, patience: float = 60) -> str:
    return CONFIG.format(
        shards=SHARDS, threads=THREADS, state=state, scheduler=scheduler, patience=patience,
        url=sandbox.base_url, quota=QUOTA, window=WINDOW,
    )  # fmt: skip


def kept(sandbox: Sandbox) -> bool:
    """Whether the upstream saw the quotas kept: it refused nothing, and no window had more."""
    seen = sandbox.stats()
    peaks = [window["peak_arrived"] for key in seen["keys"].values() for window in key["windows"]]
    return seen["refused"] == 0 and len(peaks) == len(KEYS) and max(peaks) <= QUOTA


def whole(sandbox: Sandbox, twice: int) -> bool:
    """Whether every question was asked, at most so many twice, within the quotas."""
    seen = sandbox.stats()
    assert seen["bodies"] == INPUTS * CHECKS
    assert seen["billed_twice"] <= twice
    return kept(sandbox)


def manifest(job: Job) -> dict[str, object]:
    return dict(json.loads((job.output / "manifest.json").read_text()))


def well_on_its_way(workers: Workers, sandbox: Sandbox) -> bool:
    """Both have a shard in work, and a quarter of the questions was asked."""
    at_work = workers.shards("one") and workers.shards("two")
    return bool(at_work) and sandbox.stats()["bodies"] > INPUTS * CHECKS / 4


def nobody_works(workers: Workers) -> bool:
    return not any(workers.shards(name) for name in workers.started if name != "scheduler")


def shard_runs(since: datetime) -> list[FlowRun]:
    """Flow runs of shards that were begun or made since then."""
    flow = FlowFilter(name=FlowFilterName(any_=["review-shard"]))
    started = FlowRunFilter(start_time=FlowRunFilterStartTime(after_=since))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_filter=flow, flow_run_filter=started)


@contextmanager
def once(holds: Callable[[], bool], do: Callable[[], object]) -> Iterator[None]:
    """Do it on another thread as soon as it holds, while the block goes on."""
    failed: list[BaseException] = []

    def act() -> None:
        try:
            await_condition(holds, "what was waited for")
            do()
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join()
    if failed:
        raise failed[0]


def test_kill_9_of_a_machine(workers: Workers, job: Job, sandbox: Sandbox, tmp_path: Path) -> None:
    """
    Two machines share one ledger, one dies, the other does its shard: the outputs are whole, no window
    had more than its quota, paid twice is at most what was in flight, every state is final, no folder
    is left, and neither scheduler nor worker has seen an input, a key or Prefect's login in the clear.
    """
    since = datetime.now(UTC)
    with once(lambda: well_on_its_way(workers, sandbox), lambda: workers.kill("one")):
        ended = job.run(numbered(tmp_path / "inputs.jsonl", INPUTS))

    assert ended.code == 0, ended.err
    assert whole(sandbox, twice=THREADS)
    assert manifest(job)["complete"]
    states = [run.state_name for run in shard_runs(since)]
    assert states == ["Completed"] * SHARDS
    assert [path for path in workers.left() if "one" not in path.parts] == []
    said = ended.out + ended.err + workers.logs()
    assert "def f" not in said
    assert not any(
        secret in said for secret in (*KEYS.values(), os.environ["PREFECT_API_AUTH_STRING"])
    )
    assert "distributed" not in ended.out + ended.err
