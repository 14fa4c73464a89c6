"""A run that is killed between two renames of its outputs leaves a mix, which is found and mended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.sandbox import Sandbox
from tests.conftest import Job
from tests.runs import await_condition, config, numbered

MakeJob = Callable[..., Job]

INPUTS = 4
CHECKS = 2
OTHERS = 40_000
"""Files that are moved between comments.parquet and manifest.json: they take some tenths of a second."""


def stages(output: Path, before: set[Path]) -> list[Path]:
    """Folders where a run that is under way now has its outputs."""
    return [one for one in output.glob(".work/*/outputs") if one not in before]


def fill(stage: Path) -> None:
    """One file and thousands of links to it, as many outputs as no run has."""
    (stage / "d").write_text("")
    for number in range(OTHERS):
        if number % 10_000 == 0:  # a file has so many links at most
            first = stage / f"d{number}"
            first.write_text("")
        else:
            (stage / f"d{number}").hardlink_to(first)


@pytest.mark.chaos
def test_the_mix_is_named_and_a_rerun_mends_it(
    sandbox: Sandbox,
    make_job: MakeJob,
    tmp_path: Path,
) -> None:
    """`verify` names the files that are of another night; the rerun asks nothing and is whole."""
    job = make_job(config(sandbox))
    assert job.run(numbered(tmp_path / "first.jsonl", INPUTS)).code == 0
    output = job.output
    calls, manifest = output / "calls.parquet", output / "manifest.json"
    earlier, kept = calls.stat().st_ino, manifest.read_bytes()

    second = numbered(tmp_path / "second.jsonl", INPUTS, note="changed")
    sandbox.control(latency=3.0)
    process = job.start(second, "--overwrite")
    await_condition(lambda: bool(stages(output, set())), "the second has begun")
    (stage,) = stages(output, set())
    fill(stage)
    await_condition(lambda: calls.stat().st_ino != earlier, "its first output is moved")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert manifest.read_bytes() == kept, "killed too late"
    for one in output.glob("d*"):
        one.unlink()

    told = job.run(second, "--verify", str(output))
    assert told.code == 2
    assert "calls.parquet was changed after the run: its checksum differs" in told.err
    assert "reviews.json" not in told.err

    paid = sandbox.stats()["requests"]
    ended = job.run(second, "--overwrite")
    assert ended.code == 0, ended.err
    assert sandbox.stats()["requests"] == paid == 2 * INPUTS * CHECKS
    assert manifest.read_bytes() != kept
    assert job.run(second, "--verify", str(output)).code == 0
    assert not (output / ".work").exists()
    assert not list(output.glob("d*"))
