"""What travels: a night of 300 MB in shards of their own, and answers that came by batch."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from deployments.sandbox import Sandbox
from tests.conftest import Process
from tests.operations.workers.dask_workers import Workers
from tests.operations.workers.nights import (
    CHECKS,
    INPUTS,
    MakeJob,
    completes,
    leave_nothing,
    manifest,
    review_toml,
)
from tests.runs import numbered

pytestmark = pytest.mark.chaos

_MEGABYTES = 300


def test_a_night_of_300_megabytes(
    workers: Workers, make_job: MakeJob, sandbox: Sandbox, tmp_path: Path, database: str
) -> None:
    """It is cut into five shards; nobody holds more of it than the documentation says."""
    source = _large(tmp_path / "inputs.jsonl")
    text = review_toml(sandbox.base_url, workers.address, database)
    text = re.sub(r"quota = .*", "quota = []", text).replace("shards = 2\n", "")
    job = make_job("max_input_tokens = 2_000_000\n" + text)
    since, began = datetime.now(UTC), time.monotonic()
    process = job.start(source)
    peaks = _peaks(process, {name: one.pid for name, one in workers.started.items()})
    _, complained = process.communicate(timeout=60)

    print(f"a night of {_MEGABYTES} MB: {time.monotonic() - began:.0f} s, at most, in MB: {peaks}")
    assert process.returncode == 0, complained
    assert manifest(job)["complete"]
    seen = sandbox.stats()
    assert (seen["bodies"], seen["billed_twice"]) == (CHECKS * _MEGABYTES, 0)
    assert len(list(pq.read_table(job.output / "reviews.parquet").to_pylist())) == _MEGABYTES
    leave_nothing(workers, since, {"Completed"})
    assert max(peaks.values()) < 1500


def _large(path: Path) -> Path:
    """Inputs of a megabyte each, of words: of other text the sandbox would seem to read a part only."""
    chance = random.Random(15)
    words = sorted(set(re.findall(r"[a-z]{3,}", Path(__file__).read_text())))
    with path.open("w") as file:
        for number in range(_MEGABYTES):
            lines = (f"    # {' '.join(chance.choices(words, k=12))}\n" for _ in range(12_500))
            row = {"input_id": f"i{number:04}", "content": f"def f{number}():\n{''.join(lines)}"}
            file.write(json.dumps(row) + "\n")
    return path


def _peaks(run: Process, pids: dict[str, int]) -> dict[str, int]:
    """The most memory that each process had until the run ended, in MB."""
    peaks: dict[str, int] = defaultdict(int)
    deadline = time.monotonic() + 600
    while run.poll() is None:
        assert time.monotonic() < deadline
        for name, pid in {**pids, "run": run.pid}.items():
            with suppress(OSError, TypeError):  # it has just ended
                status = Path(f"/proc/{pid}/status").read_text()
                most = re.search(r"VmHWM:\s*(\d+)", status)
                peaks[name] = max(peaks[name], int(most[1]) // 1024)
        time.sleep(0.2)
    return dict(peaks)


def test_what_a_shard_costs(
    workers: Workers, make_job: MakeJob, sandbox: Sandbox, tmp_path: Path, database: str
) -> None:
    """CPU of everybody for shards of one input each: most of it is the start of their processes."""
    shards = 8
    text = review_toml(sandbox.base_url, workers.address, database)
    job = make_job(text.replace("shards = 2", f"shards = {shards}"))
    workers.await_places(2)
    before = {name: _cpu(one.pid) for name, one in workers.started.items()}
    process = job.start(numbered(tmp_path / "inputs.jsonl", shards))
    completes(process)
    spent = {name: _cpu(one.pid) - before[name] for name, one in workers.started.items()}

    at_workers = (spent["one"] + spent["two"]) / shards
    print(
        f"CPU of a shard: {at_workers:.2f} s at its worker, "
        f"{1000 * spent['scheduler'] / shards:.0f} ms at the scheduler"
    )
    assert at_workers < 5


def _cpu(pid: int) -> float:
    """Seconds of CPU of a process and of those children of it that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def test_a_night_by_batch(
    workers: Workers, make_job: MakeJob, sandbox: Sandbox, tmp_path: Path, database: str
) -> None:
    """The run's own machine hands the questions in; workers take all answers from the journal."""
    sandbox.control(batch={"seconds": 0})
    text = review_toml(sandbox.base_url, workers.address, database)
    text = text.replace('key = "env:KEY_A"', 'batch = true\nkey = "env:KEY_A"')
    job = make_job(f'{text}[batch]\nmin_calls = 20\npoll = "1s"\n')
    since = datetime.now(UTC)
    ended = job.command(numbered(tmp_path / "inputs.jsonl", INPUTS))

    assert ended.code == 0, ended.err
    assert manifest(job)["complete"]
    tiers = sandbox.bill()["tiers"]
    assert (tiers["batch"]["calls"], tiers["online"]["calls"]) == (INPUTS * CHECKS, 0)
    assert sandbox.stats()["requests"] == 0
    calls = pq.read_table(job.output / "calls.parquet").to_pylist()
    assert {row["via"] for row in calls} == {"batch"}
    leave_nothing(workers, since, {"Completed"})
