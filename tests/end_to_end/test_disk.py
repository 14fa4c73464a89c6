"""Disks that are full or read-only, folders in use, state files that are damaged or too old."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from deployments.sandbox import Sandbox
from tasks.core.calls import Reply, Usage
from tasks.upstream.journal import open_journal
from tests.conftest import Job
from tests.runs import await_condition, config, numbered

MakeJob = Callable[..., Job]

_PAGE = 4096
REPLY = Reply("{}", "m", "stop", Usage(), None, 1.0, "a", "t", "http://x.test/v1", 1.0, 0.0)


@pytest.fixture(scope="module")
def _mounts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where a process may not mount for itself."""
    folder = tmp_path_factory.mktemp("mounted")
    namespace = ("unshare", "--user", "--map-root-user", "--mount")
    probe = [*namespace, "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(probe, check=False, timeout=60, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting in a user namespace is not permitted here: {done.stderr.strip()}")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four inputs."""
    return numbered(tmp_path / "inputs.jsonl", 4)


def earlier(output: Path) -> dict[str, bytes]:
    """Outputs of an earlier run, as they are to stay."""
    output.mkdir(exist_ok=True)
    (output / "reviews.json").write_text('{"earlier": {}}')
    (output / "manifest.json").write_text('{"outputs": {}}')
    return files(output)


def files(folder: Path) -> dict[str, bytes]:
    named = folder.iterdir()
    return {path.name: path.read_bytes() for path in named if path.is_file() and path.suffix}


def refused(job: Job, source: Path, mount: str = "") -> str:
    """Run it, after a mount of its own, expect exit code 2 and one clear message; returns it."""
    ended = job.command(source, mount=mount) if mount else job.run(source)
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, ended.err
    return errors[0]


@pytest.mark.usefixtures("_mounts")
def test_full_output_disk(sandbox: Sandbox, make_job: MakeJob, source: Path) -> None:
    """The message says what to free; nothing of the run is left half written."""
    job = make_job(config(sandbox, processes=1))
    job.output.mkdir()
    full = f"mount -t tmpfs -o size=12k tmpfs {job.output}"
    said = refused(job, source, full)
    assert "the disk is full: free some space" in said


@pytest.mark.usefixtures("_mounts")
def test_full_state_disk(sandbox: Sandbox, make_job: MakeJob, tmp_path: Path) -> None:
    """The journal's disk fills up in mid-run: exit code 2, and earlier outputs are as they were."""
    job = make_job(config(sandbox, processes=1))
    state = job.folder / "state"
    state.mkdir()
    before = earlier(job.output)
    begun = f"ls {job.output}/.work/*/shard-000/flow_run.txt"
    filled = (
        f"mount -t tmpfs -o size=9m tmpfs {state} && {{ ( until {begun}; do sleep 0.1; done; "
        f"dd if=/dev/zero of={state}/other bs=4k ) >/dev/null 2>&1 & }}"
    )
    said = refused(job, numbered(tmp_path / "many.jsonl", 200), filled)
    assert "free space on its disk" in said or "disk is full" in said
    assert files(job.output) == before


@pytest.mark.usefixtures("_mounts")
def test_state_disk_that_is_full_from_the_start(
    sandbox: Sandbox, make_job: MakeJob, source: Path
) -> None:
    """The room that is there and that is needed is told before the first call."""
    job = make_job(config(sandbox, processes=1))
    state = job.folder / "state"
    state.mkdir()
    said = refused(job, source, f"mount -t tmpfs -o size=400k tmpfs {state}")
    assert "MB free and a run needs at least 8 MB: free some space" in said
    assert sandbox.stats()["requests"] == 0


@pytest.mark.usefixtures("_mounts")
def test_read_only_output_and_state(sandbox: Sandbox, make_job: MakeJob, source: Path) -> None:
    """Each is named with its remedy, and no call is made."""
    job = make_job(config(sandbox, processes=1))
    before = earlier(job.output)
    state = job.folder / "state"
    state.mkdir()
    for folder, remedy in ((job.output, "choose another --output"), (state, "writable")):
        read_only = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"
        said = refused(job, source, read_only)
        assert str(folder) in said
        assert remedy in said
    assert {**files(job.output), **before} == files(job.output)
    assert sandbox.stats()["requests"] == 0


def test_two_runs_into_one_output(sandbox: Sandbox, make_job: MakeJob, source: Path) -> None:
    """The second is refused at once, the first goes on and ends complete."""
    sandbox.control(latency=0.5)
    job = make_job(config(sandbox, processes=1))
    first = job.start(source)
    await_condition(lambda: any(job.output.glob(".work/*/run.json")), "the first has begun")
    os.kill(first.pid, signal.SIGSTOP)
    said = refused(job, source)
    os.kill(first.pid, signal.SIGCONT)
    assert "is being written by another run" in said
    first.communicate(timeout=120)
    assert first.returncode == 0


def test_damaged_and_older_journals(sandbox: Sandbox, make_job: MakeJob, source: Path) -> None:
    """An older journal and a torn one are refused with the remedy, before any call."""
    job = make_job(config(sandbox, processes=1))
    journal, kept = job.folder / "state" / "journal.sqlite", job.folder / "kept.sqlite"
    with open_journal(journal) as open_one:
        for number in range(20):
            open_one.put(f"{number:064x}", REPLY)
    shutil.copy(journal, kept)
    before = earlier(job.output)

    with closing(sqlite3.connect(journal)) as older:
        older.execute("PRAGMA user_version = -1")
    assert "written by an older version of this program" in refused(job, source)

    shutil.copy(kept, journal)
    with journal.open("r+b") as torn:
        torn.seek(journal.stat().st_size - _PAGE)
        torn.write(b"\xff" * (_PAGE // 2))
    said = refused(job, source)
    assert "nightly-review journal salvage" in said
    assert files(job.output) == before
    assert sandbox.stats()["requests"] == 0
