"""What a task at a Dask worker knows of those who wait for it."""

from __future__ import annotations

import threading
import time

import pytest
from distributed import Client, LocalCluster, get_worker

from flows.shards.remote.parcel import Parcel
from flows.shards.remote.worker import is_wanted

_ran, _ended = threading.Event(), threading.Event()


def _until_unwanted(key: str) -> None:
    worker = get_worker()
    _ran.set()
    while is_wanted(worker, key):
        time.sleep(0.01)
    _ended.set()


@pytest.mark.parametrize("how", ["cancelled", "its client closed", "its worker retired"])
def test_what_nobody_wants_is_noticed(how: str) -> None:
    """
    Rests on `Worker.state.tasks[key].state` being "cancelled" for a running task that the scheduler has
    released, and on `Worker.status`: both are documented by Dask, neither is promised.
    """
    _ran.clear()
    _ended.clear()
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0",
        # Else it looks for an address that reaches the internet, and warns where there is none.
        host="127.0.0.1", protocol="tcp",
    ) as cluster:  # fmt: skip
        client = Client(cluster, set_as_default=False)  # type: ignore[no-untyped-call]
        future = client.submit(_until_unwanted, "task", key="task", pure=False)  # type: ignore[no-untyped-call]
        assert _ran.wait(10)
        assert not _ended.wait(0.1)
        if how == "cancelled":
            client.cancel([future])
        elif how == "its client closed":
            client.close()
        else:
            client.retire_workers(workers=list(client.scheduler_info()["workers"]))
        assert _ended.wait(5)
        client.close()


def test_a_parcel_shows_nothing_of_what_is_in_it() -> None:
    """Dask logs the arguments of a task that failed."""
    parcel = Parcel("a", "out/.work/r/shard-000", "", b"settings-in-clear", b"inputs-in-clear")

    assert "clear" not in repr((parcel,))
