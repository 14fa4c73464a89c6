"""A scheduler that is away: what is said, how long it is waited for, and what ends the waiting."""

from __future__ import annotations

import gc
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from distributed.utils import LoopRunner

from flows.shards.remote.scheduler import Places, await_workers, check_scheduler, connected
from tasks.core.errors import ConfigError, SchedulerGone, StateError
from tasks.core.worker_settings import WorkersSettings
from tests.runs import free_port


@pytest.fixture
def nowhere() -> str:
    """An address where nobody listens."""
    return f"tcp://127.0.0.1:{free_port()}"


def test_a_scheduler_that_is_not_there_is_met_before_the_first_call(nowhere: str) -> None:
    """In a sentence, with the reason and what to do."""
    with pytest.raises(StateError) as caught:
        check_scheduler(WorkersSettings(scheduler=nowhere))

    assert f"scheduler {nowhere} does not answer (" in str(caught.value)
    assert "start it (dask scheduler)" in str(caught.value)
    assert "object at" not in str(caught.value)


def test_without_a_certificate_tls_is_a_matter_of_settings(nowhere: str) -> None:
    """Dask would end with a TypeError of its own."""
    with pytest.raises(ConfigError, match=r"cannot be used .* export DASK_DISTRIBUTED__COMM__TLS"):
        check_scheduler(WorkersSettings(scheduler=nowhere.replace("tcp", "tls")))


def test_the_collector_closes_no_client(nowhere: str) -> None:
    """
    One that could not be made is collected while another one starts, in whatever thread: that ends.
    Rests on the lock that distributed.utils.LoopRunner holds meanwhile.
    """
    with suppress(ConfigError):
        check_scheduler(WorkersSettings(scheduler=nowhere.replace("tcp", "tls")))
    collector = threading.Thread(target=gc.collect, daemon=True)
    with LoopRunner._lock:
        collector.start()
        collector.join(30)
        assert not collector.is_alive()


def test_patience_is_of_the_run_and_not_of_each_shard(nowhere: str) -> None:
    """What one shard has waited for, another one does not wait for again."""
    workers, waited = WorkersSettings(scheduler=nowhere, scheduler_patience=6), []
    for _ in range(2):
        begin = time.monotonic()
        with pytest.raises(SchedulerGone, match="has been away for"), connected(workers, _never):
            pytest.fail("there is none")
        waited.append(time.monotonic() - begin)
    assert waited[0] > max(6, waited[1])


def _never() -> bool:
    return False


def test_a_stop_ends_the_waiting(nowhere: str) -> None:
    """A run that is stopped does not stay for a scheduler."""
    begin = time.monotonic()

    with connected(WorkersSettings(scheduler=nowhere), lambda: time.monotonic() - begin > 1) as got:
        assert got is None

    assert time.monotonic() - begin < 15


def test_a_run_without_workers_ends_after_its_patience() -> None:
    """Not at once, and with a sentence that says what to start."""
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=0, protocol="tcp", host="127.0.0.1", processes=False,
        dashboard_address="127.0.0.1:0",
    ) as cluster:  # fmt: skip
        settings = WorkersSettings(scheduler=cluster.scheduler_address, worker_patience=0)
        with Client(settings.scheduler, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            assert check_scheduler(settings) == (0, 0, 0)
            with pytest.raises(SchedulerGone, match=r"no worker with .*; the run has waited for"):
                await_workers(client, settings)


def test_a_scheduler_that_stands_still_is_not_waited_for(tmp_path: Path) -> None:
    """It takes connections and answers nothing, as one that is stopped does."""
    port = free_port()
    settings = WorkersSettings(scheduler=f"tcp://127.0.0.1:{port}")
    command = ["dask", "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=log, stderr=log)
    try:
        with connected(settings, _never) as client:
            assert client is not None
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(TimeoutError):
                await_workers(client, settings)
    finally:
        process.kill()
        process.wait(30)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (Places(0, 0, 3), r"no worker with nightly-review-[0-9.]+ is connected \(3 others are\)"),
        (Places(2, 8, 0), r"2 workers with 8 places \(nightly-review-[0-9.]+\) are connected"),
    ],
)
def test_who_is_connected_is_said_with_what_to_do(places: Places, said: str) -> None:
    """Doctor and a run that waits for a place say the same."""
    assert re.match(said, str(places))
