"""The memory that limit syncs share, in a folder and in a real database."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from flows.ui.limit_slots import Entry
from flows.ui.limit_sync_state import LimitSyncState
from tasks.core.errors import StateError
from tests.processes import next_line, started

_HOLDER = """
import sys, time
from flows.ui.limit_sync_state import LimitSyncState
from flows.ui.limit_slots import Entry
state = LimitSyncState(sys.argv[1])
with state:
    state.entries["x"] = Entry(written=1)
    state.save()
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["folder", "database"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Every test runs on both kinds of state."""
    if request.param == "folder":
        return str(tmp_path)
    url: str = request.getfixturevalue("database")
    return url


def test_what_one_run_writes_the_next_one_reads(state: str) -> None:
    """Entries outlive the run that made them."""
    first = LimitSyncState(state)
    with first:
        assert first.entries == {}
        first.entries["x"] = Entry(written=3, shown=2)
    first.close()
    second = LimitSyncState(state)
    with second:
        assert second.entry("x") == Entry(written=3, shown=2)
        assert second.entry("y") == Entry()
    second.close()


def test_a_run_knows_whether_another_one_lives(state: str) -> None:
    """It does not count itself, and not one that has left."""
    first = LimitSyncState(state)
    assert not first.others()
    second = LimitSyncState(state)
    assert first.others()
    assert second.others()
    second.leave()
    second.close()
    assert not first.others()
    first.close()


def test_one_run_at_a_time(state: str) -> None:
    """Two runs that add one to a number in turns lose none."""
    runs = [LimitSyncState(state) for _ in range(2)]

    def add(run: LimitSyncState) -> None:
        for _ in range(50):
            with run:
                run.entries["x"] = Entry(shown=run.entry("x").shown + 1)

    with ThreadPoolExecutor() as pool:
        list(pool.map(add, runs))
    with runs[0]:
        assert runs[0].entry("x").shown == 100
    for run in runs:
        run.close()


def test_the_last_run_to_leave_knows_it(state: str) -> None:
    """The others do not."""
    runs = [LimitSyncState(state) for _ in range(3)]
    assert [run.leave() for run in runs] == [False, False, True]
    for run in runs:
        run.close()


def test_a_run_killed_in_its_turn_is_not_in_the_way(state: str) -> None:
    """What it had saved is there, and it does not count as one that goes on."""
    with started([sys.executable, "-c", _HOLDER, state], seconds=60) as child:
        assert next_line(child) == "held"
    run = LimitSyncState(state)
    with run:
        assert run.entry("x") == Entry(written=1)
    assert run.leave()
    run.close()


def test_a_session_that_ended_is_made_again(database: str) -> None:
    """Between two turns nobody notices; within one, nothing is written without the lock."""
    run = LimitSyncState(database)
    _end_sessions(database)
    with run:
        run.entries["x"] = Entry(shown=1)
    with pytest.raises(StateError), run:
        _end_sessions(database)
    with run:
        assert run.entry("x").shown == 1
    run.close()


def _end_sessions(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
