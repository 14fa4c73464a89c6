"""Whoever is killed, whenever: nothing is lost, nothing paid twice but what was in flight, nobody stays."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox import Sandbox

INPUTS = 60
CHECKS = 2
IN_FLIGHT = 12
"""Two processes of six threads: no more calls than that are ever under way."""


def config(sandbox: Sandbox) -> str:
    return f"""
mode = "check"
processes = 2
threads = 6
state = "state"
[app_ids.alpha]
key = "env:KEY_A"
base_url = "{sandbox.base_url}"
[[check]]
name = "one"
model = "check-1"
[[check]]
name = "two"
model = "check-2"
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Inputs that differ, so that each is a question of its own."""
    path = tmp_path / "inputs.jsonl"
    rows = [
        {"input_id": f"i{n:03}", "content": f"def f{n}(x):\n    return x + {n}\n"}
        for n in range(INPUTS)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def await_condition(true: Callable[[], bool], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.02)


def group_is_gone(group: int) -> bool:
    """Whether no process of the group is left, zombies set aside."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return False
    return True


def children(group: int, marker: str) -> list[int]:
    """Pids in the group whose command line has the marker."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if int(fields[2]) == group and marker in command:
            found.append(int(stat.parent.name))
    return found


def whole(output: Path) -> dict[str, Any]:
    """The outputs without what differs between any two runs: times, ids, who answered."""
    document = json.loads((output / "reviews.json").read_text())
    facts = json.loads((output / "manifest.json").read_text())
    return {"reviews": document, "counts": facts["counts"]}


def test_kill_9_of_everything_three_times(
    sandbox: Sandbox, make_job: Callable[..., Any], source: Path
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
        process.communicate()
    ended = job.run(source)
    assert ended.code == 0, ended.err
    seen = sandbox.stats()
    assert seen["bodies"] == INPUTS * CHECKS
    assert seen["billed_twice"] <= 3 * IN_FLIGHT
    assert not (job.output / ".work").exists()

    undisturbed = job.run(source, "--fresh", output=job.folder / "undisturbed")
    assert undisturbed.code == 0, undisturbed.err
    assert whole(job.output) == whole(job.folder / "undisturbed")


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_parent_dies_and_takes_its_children_along(
    sandbox: Sandbox, make_job: Callable[..., Any], source: Path, sent: signal.Signals
) -> None:
    """However the parent ends, no shard process goes on spending quota, and the rerun completes."""
    sandbox.control(latency=0.3)
    job = make_job(config(sandbox))
    process = job.start(source)
    await_condition(lambda: sandbox.stats()["requests"] >= 10, "first calls")
    os.kill(process.pid, sent)
    process.communicate(timeout=60)
    await_condition(lambda: group_is_gone(process.pid), "children gone", 30)
    after = sandbox.stats()["requests"]
    assert after < INPUTS * CHECKS
    ended = job.run(source)
    assert ended.code == 0, ended.err
    assert sandbox.stats()["bodies"] == INPUTS * CHECKS


def test_one_killed_shard_is_started_again(
    sandbox: Sandbox, make_job: Callable[..., Any], source: Path
) -> None:
    """A shard process killed with -9 costs only what it had in flight; the run ends complete."""
    sandbox.control(latency=0.3)
    job = make_job(config(sandbox))
    process = job.start(source)
    await_condition(lambda: sandbox.stats()["requests"] >= 10, "first calls")
    victim = next(
        pid for pid in children(process.pid, "spawn_main") if sandbox.stats()["in_flight"] and pid
    )
    os.kill(victim, signal.SIGKILL)
    said, complained = process.communicate(timeout=120)
    assert process.returncode == 0, complained
    assert "complete" in said
    seen = sandbox.stats()
    assert seen["bodies"] == INPUTS * CHECKS
    assert seen["billed_twice"] <= IN_FLIGHT // 2
