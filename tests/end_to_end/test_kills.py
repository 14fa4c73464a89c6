"""Whoever is killed, whenever: nothing is lost, nothing paid twice but what was in flight, nobody stays."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateType

from deployments.sandbox import Sandbox, start_sandbox
from tasks.upstream.journal.recover import check
from tests.conftest import Job
from tests.runs import await_condition, config, group_is_gone, numbered, shards, whole

INPUTS = 60
CHECKS = 2
IN_FLIGHT = 12
"""Two processes of six threads: no more calls than that are ever under way."""

MakeJob = Callable[..., Job]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Inputs that differ, so that each is a question of its own."""
    return numbered(tmp_path / "inputs.jsonl", INPUTS)


def unfinished() -> set[str]:
    """Names of the flow runs that Prefect's server takes for unfinished."""
    states = StateType(any_=["PENDING", "RUNNING", "CANCELLING"])
    wanted = FlowRunFilter(state=FlowRunFilterState(type=states))
    with get_client(sync_client=True) as client:
        return {f"{one.name} {one.id}" for one in client.read_flow_runs(flow_run_filter=wanted)}


def test_kill_9_of_everything_three_times(
    sandbox: Sandbox, make_job: MakeJob, source: Path
) -> None:
    """Killed at 30, 60 and 90 %: the rerun is complete, and pays twice at most what was in flight."""
    sandbox.control(latency=0.15)
    job = make_job(config(sandbox))
    for share in (0.3, 0.6, 0.9):
        process = job.start(source)
        await_condition(
            lambda share=share: sandbox.stats()["bodies"] >= share * INPUTS * CHECKS, f"{share:.0%}"
        )
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    job = make_job(config(sandbox, processes=1))
    ended = job.run(source)
    assert ended.code == 0, ended.err
    seen = sandbox.stats()
    assert seen["bodies"] == INPUTS * CHECKS
    assert seen["billed_twice"] <= 3 * IN_FLIGHT
    assert {path.name for path in job.output.iterdir()} >= {"manifest.json", ".lock"}
    assert not [path for path in job.output.rglob("*") if path.suffix == ".tmp"]
    assert not (job.output / ".work").exists()

    undisturbed = job.run(source, "--fresh", output=job.folder / "apart" / "undisturbed")
    assert undisturbed.code == 0, undisturbed.err
    assert whole(job.output) == whole(job.folder / "apart" / "undisturbed")


def test_parent_dies_and_takes_its_children_along(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path
) -> None:
    """
    However the parent ends, no shard process goes on spending quota, and the next run goes on. Told
    to stop, it makes no new call after a second, lets those in flight finish, and says so to Prefect.
    """
    source = numbered(tmp_path / "inputs.jsonl", 3 * INPUTS)
    sandbox.control(latency=0.3)
    job = make_job(config(sandbox))
    before = unfinished()
    for sent in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        asked = sandbox.stats()["requests"]
        process = job.start(source)
        await_condition(
            lambda asked=asked: sandbox.stats()["requests"] >= asked + 10, f"calls before {sent}"
        )
        told = time.monotonic()
        if sent is signal.SIGINT:
            os.killpg(process.pid, sent)  # as a terminal does
        else:
            os.kill(process.pid, sent)
        _, complained = process.communicate(timeout=90)
        await_condition(lambda group=process.pid: group_is_gone(group), "children gone", 30)

        assert "Crash detected" not in complained
        assert ("stopped; the answers" in complained) == (sent is signal.SIGINT)
        last = max(row["at"] for row in sandbox.log()) - told
        assert last <= (3.0 if sent is signal.SIGKILL else 1.0)
        assert check(job.folder / "state" / "journal.sqlite") == []
        if sent is not signal.SIGKILL:
            assert sandbox.stats()["abandoned"] == 0
            assert sandbox.stats()["billed_twice"] == 0
            assert unfinished() == before
    assert sandbox.stats()["requests"] < 3 * INPUTS * CHECKS
    sandbox.control(latency=0)
    ended = make_job(config(sandbox, processes=1)).run(source)
    assert ended.code == 0, ended.err
    assert sandbox.stats()["bodies"] == 3 * INPUTS * CHECKS
    assert sandbox.stats()["requests"] <= 3 * INPUTS * CHECKS + IN_FLIGHT


def test_killed_shards_are_started_again(sandbox: Sandbox, make_job: MakeJob, source: Path) -> None:
    """
    One shard is killed with -9, the other told to stop: what was in flight is paid twice, no more.
    Before that comes a Ctrl-C, which a run in the background ignores, as a shell has it, and so do
    its shards.
    """
    sandbox.control(latency=0.3)
    job = make_job(config(sandbox))
    before = unfinished()
    process = job.start(source, in_background=True)
    await_condition(lambda: len(shards(process.pid)) == 2, "two shards")
    await_condition(lambda: sandbox.stats()["requests"] >= 1, "first call")
    at_work = shards(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    await_condition(lambda: sandbox.stats()["requests"] >= 36, "both shards call")
    assert set(shards(process.pid)) == set(at_work)
    for pid, sent in zip(at_work, (signal.SIGKILL, signal.SIGTERM), strict=True):
        os.kill(pid, sent)
    said, complained = process.communicate(timeout=180)
    assert process.returncode == 0, complained
    assert "complete" in said
    assert "Traceback" not in complained
    seen = sandbox.stats()
    assert seen["bodies"] == INPUTS * CHECKS
    assert seen["billed_twice"] <= IN_FLIGHT // 2
    assert unfinished() == before


def test_upstream_is_killed_and_comes_back(make_job: MakeJob, source: Path) -> None:
    """The run waits for it and ends complete without help; what was in flight is asked again."""
    with start_sandbox(latency=0.2) as first:
        port = int(first.base_url.rpartition(":")[2].removesuffix("/v1"))
        job = make_job(config(first))
        process = job.start(source)
        await_condition(lambda: first.stats()["requests"] >= 20, "first calls")
        answered = first.stats()["answered"]
        os.kill(first.pid, signal.SIGKILL)
    with start_sandbox(port, latency=0.05) as second:
        said, complained = process.communicate(timeout=120)
        assert process.returncode == 0, complained
        assert "complete" in said
        assert second.stats()["answered"] <= INPUTS * CHECKS - answered


@pytest.mark.chaos
def test_a_rerun_does_not_wait_for_the_orphans_of_a_killed_run(
    sandbox: Sandbox, make_job: MakeJob, source: Path
) -> None:
    """Only the run itself is killed, its shards still write: the next one starts at once and is whole."""
    sandbox.control(latency=0.3)
    job = make_job(config(sandbox))
    process = job.start(source)
    await_condition(lambda: sandbox.stats()["requests"] >= 24, "both shards call")
    orphans = shards(process.pid)
    for pid in orphans:
        os.kill(pid, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    second = job.start(source)
    await_condition(lambda: len(shards(second.pid)) == len(orphans), "the second run's shards work")
    for pid in orphans:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    said, complained = second.communicate(timeout=180)
    assert second.returncode == 0, complained
    assert "complete" in said
    assert not (job.output / ".work").exists()
    await_condition(lambda: group_is_gone(process.pid), "the orphans are gone", 30)
    undisturbed = job.run(source, "--fresh", output=job.folder / "apart" / "undisturbed")
    assert undisturbed.code == 0, undisturbed.err
    assert whole(job.output) == whole(job.folder / "apart" / "undisturbed")
