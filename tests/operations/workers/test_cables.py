"""Cables are pulled: scheduler, workers and run are on machines of a network; nobody hears of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from prefect.settings import temporary_settings

from deployments.sandbox import Sandbox
from tests.conftest import Job
from tests.operations.workers.conftest import OwnServer
from tests.operations.workers.dask_workers import Workers
from tests.operations.workers.network import Network, may_have_networks, open_network
from tests.operations.workers.nights import (
    GRACE,
    INPUTS,
    THREADS,
    MakeJob,
    assert_whole,
    assert_within,
    await_calls,
    completes,
    last_send,
    leave_nothing,
    review_toml,
    seconds_until,
)
from tests.runs import free_port, numbered

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not may_have_networks(), reason="needs root and network namespaces"),
]


_INPUTS = 5 * INPUTS
"""A minute of calls: a silent connection is given up after half of one."""


@pytest.fixture
def network() -> Iterator[Network]:
    """Cables to the run's machine and two workers'."""
    with open_network() as opened:
        for machine in ("run", "one", "two"):
            opened.plug(machine)
        yield opened


@pytest.fixture
def server(network: Network, tmp_path: Path) -> Iterator[OwnServer]:
    """A Prefect server that is reached over the network, by the test as well."""
    made = OwnServer(tmp_path / "server", network.host)
    try:
        made.start()
        url = made.environment["PREFECT_API_URL"]
        with temporary_settings({"api.url": url, "api.auth_string": made.login}):
            yield made
    finally:
        made.kill()


@pytest.fixture
def machines(
    network: Network, server: OwnServer, all_workers: Workers, tmp_path: Path
) -> Iterator[Workers]:
    """A scheduler that all machines reach; the second worker has two places."""
    own = {"NO_PROXY": network.host, "no_proxy": network.host} | server.environment
    made = replace(
        all_workers, folder=tmp_path / "machines", port=free_port(), started={}, host=network.host,
        environment=all_workers.environment | own,
        under={name: network.under(name) for name in ("one", "two")},
    )  # fmt: skip
    try:
        made.start_scheduler()
        made.start("one", host=network.address("one"))
        made.start("two", host=network.address("two"), places=2)
        made.await_places(3)
        yield made
    finally:
        made.stop()


@pytest.fixture
def job(
    network: Network, machines: Workers, make_job: MakeJob, tight: Sandbox, database: str
) -> Job:
    """A run for a machine of the network."""
    parts = urlsplit(database)
    entry = network.open_door(f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432")
    state = f"postgresql://postgres@{network.host}:{entry}{parts.path}?sslmode=disable"
    upstream = network.open_door(int(tight.root.rpartition(":")[2]))
    text = review_toml(f"http://{network.host}:{upstream}/v1", machines.address, state, 300)
    # The way through the door is one more that takes its time.
    return make_job(text.replace("margin = 0.1", "margin = 0.5")).using(machines.environment)


def test_cable_of_a_worker(
    network: Network, machines: Workers, job: Job, tight: Sandbox, tmp_path: Path
) -> None:
    """Its shard begins elsewhere; it gives up by itself what nobody waits for any more."""
    since = datetime.now(UTC)
    source = numbered(tmp_path / "inputs.jsonl", _INPUTS)
    process = job.start(source, under=network.under("run"))
    await_calls(machines, tight)
    at = time.time()
    network.pull("one")
    begun = seconds_until(lambda: len(machines.shards("two")) > 1, at, "a second shard")
    gone = seconds_until(lambda: not machines.shards("one"), at, "the end of the first")
    network.push("one")
    completes(process)
    assert_whole(tight, twice=THREADS, inputs=_INPUTS, late=THREADS)
    leave_nothing(machines, since, {"Completed"})
    assert_within(35, begun, "cable of a worker: its shard is elsewhere")
    # And the calls in flight, which hang.
    assert_within(35 + GRACE, gone, "cable of a worker: its own process ends")


def test_cable_of_the_run(
    network: Network, machines: Workers, job: Job, tight: Sandbox, tmp_path: Path
) -> None:
    """Its shards stop; it goes on once it is back, and pays nothing twice."""
    since = datetime.now(UTC)
    source = numbered(tmp_path / "inputs.jsonl", _INPUTS)
    process = job.start(source, under=network.under("run"))
    await_calls(machines, tight)
    at = time.time()
    network.pull("run")
    sent = last_send(machines, tight, at)
    network.push("run")
    completes(process)
    assert_whole(tight, twice=0, inputs=_INPUTS)
    leave_nothing(machines, since, {"Completed", "Crashed", "Cancelled"})
    assert_within(35, sent, "cable of the run: last send")
