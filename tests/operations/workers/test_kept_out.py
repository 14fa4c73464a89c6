"""What does not come in: workers of no use, secrets where they are not needed, others' certificates."""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox import Sandbox
from tests.conftest import KEYS, Job
from tests.operations.workers.conftest import OwnWorkers
from tests.operations.workers.dask_workers import Workers
from tests.operations.workers.nights import INPUTS, MakeJob, await_calls, review_toml
from tests.runs import await_condition, numbered


def _worker_without(name: str) -> dict[str, Any]:
    """How a worker is started that cannot do the shards of a run."""
    return {
        "foreign": {"place": ""},
        "other version": {"place": "nightly-review-0.0.1"},
        "no keys": {"less": [*KEYS]},
        "lends none": {"NIGHTLY_REVIEW_KEYS": "OTHER_*"},
    }[name]


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("worker", "said"),
    [
        ("no worker", "no worker with nightly-review-"),
        ("foreign", "no worker with nightly-review-"),
        ("other version", "no worker with nightly-review-"),
        ("no keys", "KEY_A"),
        ("lends none", "is not a key that this worker lends"),
    ],
)
def test_workers_of_no_use(
    all_workers: Workers, job: Job, tight: Sandbox, tmp_path: Path, *, worker: str, said: str
) -> None:
    """A sentence says what is missing; no worker dies of it, none logs an input, and nothing is sent."""
    for name in ("one", "two"):
        if name in all_workers.started:
            all_workers.kill(name)
    if worker != "no worker":
        all_workers.start("useless", **_worker_without(worker))
    log = tmp_path / "said"
    command = f'exec "$@" 2> {log}'
    process = job.start(
        numbered(tmp_path / "inputs.jsonl", INPUTS), "--verbose", under=["sh", "-c", command, "sh"]
    )
    await_condition(lambda: log.exists() and said in log.read_text(), said, 120)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)

    assert tight.stats()["requests"] == 0
    assert "def f" not in all_workers.logs()
    if worker != "no worker":
        assert all_workers.started["useless"].poll() is None
        all_workers.kill("useless")


@pytest.mark.chaos
def test_without_workers_a_run_ends(
    all_workers: Workers, make_job: MakeJob, tight: Sandbox, tmp_path: Path, database: str
) -> None:
    """It waits as long as its settings say, and ends with gaps and a sentence, without a call."""
    for name in set(all_workers.started) - {"scheduler"}:
        all_workers.kill(name)
    text = review_toml(tight.base_url, all_workers.address, database)
    job = make_job(text.replace("scheduler_patience", "worker_patience = 10\nscheduler_patience"))
    ended = job.command(numbered(tmp_path / "inputs.jsonl", INPUTS))

    assert ended.code == 3, ended.err
    assert "no worker with nightly-review-" in ended.err
    assert "the run has waited for" in ended.err
    assert tight.stats()["requests"] == 0


@pytest.mark.chaos
def test_no_secret_is_in_the_schedulers_memory(
    workers: Workers, job: Job, tight: Sandbox, tmp_path: Path
) -> None:
    """While shards are at work: no key, and no login of Prefect's server."""
    login = workers.environment["PREFECT_API_AUTH_STRING"]
    process = job.start(numbered(tmp_path / "inputs.jsonl", INPUTS))
    await_calls(workers, tight)
    memory = _memory_of(workers.started["scheduler"].pid)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)

    assert b"shard-000" in memory
    assert not [one for one in (*KEYS.values(), login) if one.encode() in memory]


def _memory_of(pid: int) -> bytes:
    """What a process has written to, as far as it can be read."""
    found = []
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            area, rights, *_ = line.split()
            if rights.startswith("rw"):
                first, last = (int(part, 16) for part in area.split("-"))
                with suppress(OSError, ValueError):
                    memory.seek(first)
                    found.append(memory.read(last - first))
    return b"".join(found)


def _authority(folder: Path) -> dict[str, str]:
    """A new authority and a certificate of it, by the documented commands; the variables that name them."""
    folder.mkdir()
    for command in (
        "req -x509 -newkey rsa:3072 -noenc -days 3650 -subj /CN=nightly-review-ca -keyout ca.key -out ca.pem",
        "req -newkey rsa:3072 -noenc -subj /CN=node -keyout node.key -out node.csr",
        "x509 -req -in node.csr -CA ca.pem -CAkey ca.key -days 365 -out node.pem",
    ):
        arguments = ["openssl", *command.split()]
        subprocess.run(arguments, cwd=folder, check=True, capture_output=True, timeout=120)
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    made = {f"{tls}CA_FILE": str(folder / "ca.pem")}
    made["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] = "true"
    for part in ("SCHEDULER", "WORKER", "CLIENT"):
        made[f"{tls}{part}__CERT"] = str(folder / "node.pem")
        made[f"{tls}{part}__KEY"] = str(folder / "node.key")
    return made


@pytest.mark.chaos
def test_only_certificates_of_the_own_authority_count(
    own_workers: OwnWorkers, make_job: MakeJob, sandbox: Sandbox, tmp_path: Path, database: str
) -> None:
    """A whole run over TLS; another authority's certificate, none, and plain TCP are refused, in a sentence."""
    ours, theirs = _authority(tmp_path / "ours"), _authority(tmp_path / "theirs")
    source = numbered(tmp_path / "inputs.jsonl", 4)
    with own_workers(ours, scheme="tls") as secured:
        text = review_toml(sandbox.base_url, secured.address, database)
        job = make_job(text)
        for unknown in (theirs, {}):
            refused = job.using(unknown).command(source)
            assert refused.code == 2, refused.err
            assert "[workers] scheduler tls://127.0.0.1" in refused.err
            assert "Traceback" not in refused.err
        plain = make_job(text.replace("tls://", "tcp://"))
        assert plain.command(source).code == 2
        assert sandbox.stats()["requests"] == 0
        ended = make_job(text).using(ours).command(source)
        assert ended.code == 0, ended.err
