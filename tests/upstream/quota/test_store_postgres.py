"""The ledger in a real PostgreSQL that is stopped, cut off, set and left in the middle of things."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from tasks.core.errors import StateError
from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import Quota, most_in_window, read_statistics
from tasks.upstream.quota.key_status import read_quota_status
from tests.postgres import start_postgres
from tests.processes import await_threads, kill, next_line, started
from tests.upstream.quota.callers import send

MakeQuota = Callable[..., Quota]

_CHILD = """
import sys, time
shift = float(sys.argv[3])
clock = time.monotonic
time.monotonic = lambda: clock() + shift
from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import Quota
quota = Quota(sys.argv[1], [AppId("a", windows=(Window(2, 1.0),))], margin=0.1, run_id="run")
grants = []
for _ in range(int(sys.argv[2])):
    grants.append(quota.acquire("m"))
    print(repr(clock()), flush=True)
    if sys.argv[4] != "unsent":
        quota.sent(grants[-1])
        quota.settle(grants[-1])
if sys.argv[4] == "stay":
    quota.statistics()
    print("done", flush=True)
    time.sleep(60)
if sys.argv[4] == "unsent":
    time.sleep(60)
quota.close()
"""


@pytest.fixture
def place(database: str) -> str:
    """Every test has an empty database."""
    return database


def _child(
    url: str, count: int, shift: float = 0.0, what: str = "end"
) -> AbstractContextManager[subprocess.Popen[str]]:
    return started([sys.executable, "-c", _CHILD, url, str(count), str(shift), what])


def _terminate(url: str) -> None:
    """End all sessions of the database but our own."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid != pg_backend_pid()"
        )


def test_processes_whose_clocks_differ_share_a_window(place: str) -> None:
    """One machine's monotonic clock is a day ahead of the other's: together they keep 2 a second."""
    with _child(place, 5) as one, _child(place, 5, 86_400.0) as other:
        said = [child.communicate(timeout=60)[0] for child in (one, other)]
    instants = sorted(float(line) for lines in said for line in lines.split())
    assert len(instants) == 10
    assert most_in_window(instants, 1.0) <= 2
    pool = [AppId("a", windows=(Window(2, 1.0),))]
    statistics = read_statistics(place, "run", pool, 0.1)
    assert statistics.kept
    assert statistics.sends == 10


def test_sends_of_a_killed_process_are_remembered(place: str, make_quota: MakeQuota) -> None:
    """Killed after two sends, on a machine with another clock: the next one waits for the window."""
    with _child(place, 2, -1000.0, "stay") as child:
        first, _, done = (next_line(child) for _ in range(3))
        assert done == "done"
    assert make_quota(a=(2, 1.0)).acquire("m").start_at >= float(first) + 1.0


def test_unconfirmed_sends_of_a_killed_process_count_until_it_is_known_to_be_dead(
    place: str, make_quota: MakeQuota
) -> None:
    """Granted, killed before it could confirm: it may have sent until it died."""
    quota = make_quota(a=(2, 1.0))
    with _child(place, 2, 0.0, "unsent") as child:
        assert all(next_line(child) for _ in range(2))
        killed = time.monotonic()
    assert quota.acquire("m").start_at >= killed + 1.1


def test_stopped_process_that_may_still_send_keeps_its_slot(
    place: str, make_quota: MakeQuota
) -> None:
    """SIGSTOP between grant and write, for longer than window and patience: nobody goes before."""
    with _child(place, 2, 0.0, "unsent") as child, ThreadPoolExecutor() as pool:
        assert all(next_line(child) for _ in range(2))
        child.send_signal(signal.SIGSTOP)
        quota = make_quota(a=(2, 1.0))
        waiting = pool.submit(quota.acquire, "m")
        time.sleep(4.0)
        assert not waiting.done()
        killed = time.monotonic()
        kill(child)
        assert waiting.result(timeout=10).start_at >= killed + 1.1


def test_holder_that_is_stopped_inside_a_transaction_is_not_in_the_way(
    place: str, make_quota: MakeQuota
) -> None:
    """The server ends its session within seconds, and it did nothing."""
    make_quota(a=(2, 1.0)).close()
    holder = (
        "import sys, time\n"
        "from tasks.upstream.quota.store_postgres import PostgresQuotaStore\n"
        "with PostgresQuotaStore(sys.argv[1], bool).exclusive():\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with started([sys.executable, "-c", holder, place]) as child:
        assert next_line(child) == "held"
        child.send_signal(signal.SIGSTOP)
        assert send(make_quota(a=(2, 1.0)), 3)


@pytest.fixture
def many(make_quota: MakeQuota) -> Iterator[tuple[Quota, list[float]]]:
    """A quota of 2 per second on each of 3 app_ids, in use by 6 threads, and all its sends so far."""
    quota = make_quota(*(AppId(f"k{n}", windows=(Window(2, 1.0),)) for n in range(3)))
    sends, stop = list[float](), threading.Event()

    def work() -> None:
        while not stop.is_set():
            (grant,) = send(quota, 1)
            sends.append(grant.start_at)

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(work) for _ in range(6)]
        yield quota, sends
        stop.set()
    for job in jobs:
        job.result(30)  # nobody had an error
    statistics = quota.statistics()
    assert statistics.kept
    assert statistics.sends == len(sends)
    assert most_in_window(sorted(sends), 1.0) <= 6


def _goes_on(sends: list[float], more: int = 6) -> None:
    """Wait for so many more sends."""
    wanted, deadline = len(sends) + more, time.monotonic() + 60
    while len(sends) < wanted:
        assert time.monotonic() < deadline, "nobody sends any more"
        time.sleep(0.02)


def test_sessions_ended_by_the_server_are_made_again(
    place: str, many: tuple[Quota, list[float]]
) -> None:
    """pg_terminate_backend five times in mid-run: no caller notices, no window is broken."""
    _, sends = many
    for _ in range(5):
        _goes_on(sends, 3)
        _terminate(place)
    _goes_on(sends)


def test_server_that_is_restarted() -> None:
    """All sessions end, nobody can connect for a while: callers wait, then go on."""
    pool = [AppId("a", windows=(Window(3, 1.0),))]
    with (
        start_postgres() as server,
        ThreadPoolExecutor(3) as threads,
        Quota(server.database(), pool, margin=0.1, run_id="run") as quota,
    ):
        send(quota, 1)
        jobs = [threads.submit(send, quota, 4) for _ in range(3)]
        server.restart()
        starts = sorted(grant.start_at for job in jobs for grant in job.result(30))
        assert most_in_window(starts, 1.0) <= 3
        assert quota.statistics().sends == 13
        assert quota.statistics().kept


def test_callers_get_an_error_when_the_run_will_not_wait_for_a_lost_database() -> None:
    """The server is gone for good and the run is being stopped: the error names the remedy."""
    stop = threading.Event()
    with start_postgres() as server:
        quota = Quota(server.database(), [AppId("a", windows=(Window(1, 60.0),))], stop=stop)
        send(quota, 1)
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(quota.acquire, "m")
            server.stop()
            stop.set()
            with pytest.raises(StateError, match="start it"):
                waiting.result(timeout=30)
        quota.close()


def test_clock_of_the_server_that_is_set_forward_counts_as_full(make_quota: MakeQuota) -> None:
    """What was sent before can no longer be placed: nothing goes for a window and a margin."""
    quota = make_quota(a=(2, 1.0))
    send(quota, 1)
    shift = quota._running()._ledger._store._clock  # type: ignore[attr-defined]
    shift.low, shift.high = shift.low - 500, shift.high - 500
    noticed = time.monotonic()
    assert make_quota(a=(2, 1.0)).snapshot()
    (grant,) = send(quota, 1)
    assert grant.start_at >= noticed + 1.0
    assert send(make_quota(a=(2, 1.0)), 1)


def test_clock_of_the_server_that_is_set_back_costs_a_window(make_quota: MakeQuota) -> None:
    """Rows that seem to lie a day ahead do not hold anybody for a day."""
    quota = make_quota(a=(2, 1.0))
    send(quota, 2)
    shift = quota._running()._ledger._store._clock  # type: ignore[attr-defined]
    with psycopg.connect(str(quota.place), autocommit=True) as db:
        db.execute("UPDATE nightly_review_quota.uses SET at = at + 86400, sent = sent + 86400")
    shift.low, shift.high = shift.low + 86_400, shift.high + 86_400
    noticed = time.monotonic()
    (grant,) = send(quota, 1)
    assert noticed + 1.0 <= grant.start_at


def test_tables_of_a_newer_version_are_refused(place: str, make_quota: MakeQuota) -> None:
    """They are not ours to change."""
    make_quota(a=(1, 1.0)).close()
    with psycopg.connect(place, autocommit=True) as db:
        db.execute("UPDATE nightly_review_quota.meta SET version = 99")
    with pytest.raises(StateError, match=r"newer version: upgrade, or set another database"):
        make_quota(a=(1, 1.0))


def test_database_that_cannot_be_reached_is_a_state_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message names what to do, and no password."""
    monkeypatch.setenv("PGPASSWORD", "planted-password-5e1")
    for url in (
        "postgresql://someone@127.0.0.1:1/nothing",
        "postgresql://127.0.0.1:1/nothing?user=someone&password=planted-password-5e1",
    ):
        with pytest.raises(StateError, match=r"start it, check user.*PGPASSWORD") as caught:
            Quota(url, [AppId("a")])
        assert "planted-password" not in str(caught.value)
        assert read_quota_status(url, "run").keys == ()
        with pytest.raises(StateError):
            read_statistics(url, "run", [AppId("a")], 0.1)


def test_empty_database_has_no_proof(place: str) -> None:
    """Nobody opened a ledger there."""
    with pytest.raises(StateError):
        read_statistics(place, "run", [AppId("a")], 0.1)
    assert read_quota_status(place, "run").keys == ()


def test_missing_driver_is_named(place: str) -> None:
    """Psycopg is an extra: without it the message says what to install."""
    script = (
        "import sys\n"
        "sys.modules['psycopg'] = None\n"
        "from tasks.upstream.quota import Quota\n"
        "from tasks.core.errors import StateError\n"
        "try:\n"
        "    Quota(sys.argv[1], [])\n"
        "except StateError as error:\n"
        "    print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, place],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "pip install 'nightly-review[postgres]'" in said.stdout


def test_key_status_of_a_run_are_read_beside_it(place: str, make_quota: MakeQuota) -> None:
    """Reasons and raised margins, by alias."""
    quota = make_quota(a=(3, 60.0))
    quota.disable("a", "revoked")
    (status,) = read_quota_status(place, "run").keys
    assert (status.alias, status.reason, status.paused) == ("a", "revoked", False)


class Wire:
    """Passes bytes to the server and back, and loses the answer to a COMMIT when told to."""

    def __init__(self, url: str) -> None:
        folder = parse_qs(urlsplit(url).query)["host"][0]
        self._server = f"{folder}/.s.PGSQL.5432"
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._sockets[0].getsockname()[1]
        self.lose = False
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        await_threads(self._threads)
        for one in self._sockets:
            one.close()

    def _start(self, job: Callable[..., None], *sockets: socket.socket) -> None:
        self._threads.append(threading.Thread(target=job, args=sockets))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, server = self._sockets[0].accept()[0], socket.socket(socket.AF_UNIX)
                self._sockets += [client, server]
                server.connect(self._server)
                self._start(self._up, client, server)
                self._start(self._down, client, server)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if self.lose and b"COMMIT\0" in data:
                    self.lose = False  # it was made, and the client will never know
                    break
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(place: str) -> Iterator[Wire]:
    """A way to the database that can lose things."""
    made = Wire(place)
    yield made
    made.close()


def test_commit_whose_answer_is_lost_grants_nothing(place: str, wire: Wire) -> None:
    """It may have been made: its slots are given back and granted anew, and no window is broken."""
    url = f"postgresql://postgres@127.0.0.1:{wire.port}{urlsplit(place).path}?sslmode=disable"
    pool = [AppId("a", windows=(Window(2, 1.0),))]
    with Quota(url, pool, margin=0.1, run_id="run") as quota:
        starts = []
        for _ in range(4):
            wire.lose = True
            starts.append(send(quota, 1)[0].start_at)
            assert not wire.lose
        assert most_in_window(starts, 1.0) <= 2
        statistics = quota.statistics()
    assert statistics.kept
    assert statistics.sends == 4
    with psycopg.connect(place) as db:
        states = "SELECT count(*) FROM nightly_review_quota.uses WHERE state BETWEEN 1 AND 3"
        row = db.execute(states).fetchone()
    assert row == (4,)
