"""Runs over Dask's workers: their settings, what must hold after whatever happened, and how long it took."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.objects import FlowRun

from deployments.sandbox import Sandbox
from tests.conftest import KEYS, Job, Process
from tests.operations.workers.dask_workers import Workers
from tests.processes import await_threads
from tests.runs import await_condition

__all__ = [
    "CHECKS",
    "GRACE",
    "INPUTS",
    "QUOTA",
    "SHARDS",
    "THREADS",
    "WINDOW",
    "MakeJob",
    "assert_whole",
    "assert_within",
    "at_most",
    "await_calls",
    "completes",
    "last_send",
    "leave_nothing",
    "manifest",
    "once",
    "review_toml",
    "seconds_until",
    "shard_runs",
    "well_on_its_way",
]

INPUTS, CHECKS, SHARDS, THREADS = 24, 2, 2, 4
QUOTA, WINDOW = 4, 2

GRACE = 30
"""Seconds that an orderly end may take; when the last call was sent is looked at apart from that."""

MakeJob = Callable[..., Job]

_CONFIG = """
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


def review_toml(upstream: str, scheduler: str, state: str, patience: float = 60) -> str:
    """Two shards at a time, with quotas as tight as the sandbox's own."""
    return _CONFIG.format(
        shards=SHARDS, threads=THREADS, state=state, scheduler=scheduler, patience=patience,
        url=upstream, quota=QUOTA, window=WINDOW,
    )  # fmt: skip


def assert_whole(sandbox: Sandbox, twice: int, inputs: int = INPUTS, late: int = 0) -> None:
    """Every question was asked, at most so many twice, and the upstream saw every window kept.

    `late` is how many requests a cable may have held back, of which no window is safe.
    """
    seen = sandbox.stats()
    peaks = [window["peak_arrived"] for key in seen["keys"].values() for window in key["windows"]]
    assert seen["bodies"] == inputs * CHECKS
    assert seen["billed_twice"] <= twice
    assert seen["refused"] <= late
    assert len(peaks) == len(KEYS)
    assert max(peaks) <= QUOTA + late, peaks


def manifest(job: Job) -> dict[str, object]:
    """That of a finished run."""
    return dict(json.loads((job.output / "manifest.json").read_text()))


def well_on_its_way(workers: Workers, sandbox: Sandbox) -> bool:
    """Both have a shard in work, and a quarter of the questions was asked."""
    at_work = workers.shards("one") and workers.shards("two")
    return bool(at_work) and sandbox.stats()["bodies"] > INPUTS * CHECKS / 4


def await_calls(workers: Workers, sandbox: Sandbox) -> None:
    """Wait until the run is well on its way."""
    await_condition(lambda: well_on_its_way(workers, sandbox), "calls of both workers", 180)


def shard_runs(since: datetime) -> list[FlowRun]:
    """Flow runs of shards that were made since then, begun or not."""
    flow = FlowFilter(name=FlowFilterName(any_=["review-shard"]))
    made = FlowRunFilter(expected_start_time=FlowRunFilterExpectedStartTime(after_=since))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_filter=flow, flow_run_filter=made)


def leave_nothing(workers: Workers, since: datetime, states: set[str]) -> None:
    """No process of a shard and no folder is left, and every flow run of a shard has such a state."""
    await_condition(workers.is_idle, "shards gone", GRACE)
    await_condition(lambda: not workers.left(), "folders gone", GRACE)
    found = [run.state_name for run in shard_runs(since)]
    assert found
    assert not set(found) - states, found


def last_send(workers: Workers, sandbox: Sandbox, at: float) -> float:
    """Seconds after `at` when the last request came, once no worker has a shard in work."""
    await_condition(workers.is_idle, "shards gone", 2 * GRACE)
    return float(max(0.0, max(row["epoch"] for row in sandbox.log()) - at))


def seconds_until(true: Callable[[], bool], at: float, what: str, most: float = 90) -> float:
    """Seconds between `at`, of time.time(), and the moment at which it holds."""
    await_condition(true, what, most)
    return time.time() - at


def assert_within(bound: float, seconds: float, what: str) -> None:
    """A bound that the documentation names; the figure is printed as well."""
    said = f"{what}: {seconds:.1f} s, at most {bound:g} s"
    print(said)
    assert seconds <= bound, said


def completes(process: Process) -> str:
    """Wait for the end of a run, which has to be a complete one; returns its log."""
    said, log = process.communicate(timeout=240)
    assert process.returncode == 0, said + log
    return log


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

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    yield
    await_threads([thread], 150)
    if failed:
        raise failed[0]


@contextmanager
def at_most(seconds: float, workers: Workers) -> Iterator[None]:
    """A run in this process that takes longer loses its scheduler, waits for it a minute, and ends."""
    timer = threading.Timer(seconds, workers.kill, ["scheduler"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
