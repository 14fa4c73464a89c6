"""The ledger file in every state it can be found in, and processes that end without a word."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tasks.core.errors import StateError
from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import Grant, Quota, clock, read_statistics
from tasks.upstream.quota.locks import FileLock
from tests.processes import kill, next_line, started

MakeQuota = Callable[..., Quota]

_CHILD = """
import sys, threading, time
from pathlib import Path
from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import Quota
quota = Quota(Path(sys.argv[1]), [AppId("a", windows=(Window(2, 1.0),))], margin=0.1, run_id="run")
grants = [quota.acquire("m") for _ in range(int(sys.argv[2]))]
if sys.argv[3] != "unsent":
    for grant in grants:
        quota.sent(grant)
    quota.statistics()
if sys.argv[3] == "queue":
    for _ in range(2):
        threading.Thread(target=quota.acquire, args=("m",)).start()
    while len(quota._running().allocator.mine) < 2:
        quota.snapshot()
print(repr(time.monotonic()), flush=True)
time.sleep(60)
"""


def _send(quota: Quota, count: int) -> list[Grant]:
    grants = [quota.acquire("m") for _ in range(count)]
    for grant in grants:
        quota.sent(grant)
        quota.settle(grant)
    return grants


def _send_each(quota: Quota, count: int) -> None:
    """One after the other: one that is not sent yet has the next wait for the ledger's next look."""
    for _ in range(count):
        _send(quota, 1)


def _opens(quota: Quota) -> float:
    """Instant from which app_id `a` may send again."""
    return quota._running().allocator.key_logs["a"].opens(0)


@contextmanager
def _child(ledger: Path, count: int, what: str) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """A process that uses the ledger, and the instant at which it has done so."""
    with started([sys.executable, "-c", _CHILD, str(ledger), str(count), what]) as child:
        yield child, float(next_line(child))


def test_sends_of_a_killed_process_are_remembered(ledger: Path, make_quota: MakeQuota) -> None:
    """Killed after two sends: the next process waits for them to leave the window."""
    with _child(ledger, 2, "sent") as (_, done):
        pass
    assert done - 0.5 < make_quota(a=(2, 1.0)).acquire("m").start_at - 1.1 <= done


def test_sends_that_a_killed_process_may_have_made_count(
    ledger: Path, make_quota: MakeQuota
) -> None:
    """Granted, killed before it could confirm: it may have sent until it died."""
    quota = make_quota(a=(2, 1.0))
    with _child(ledger, 2, "unsent"):
        killed = time.monotonic()
    assert quota.acquire("m").start_at >= killed + 1.1


def test_stopped_process_that_may_still_send_keeps_its_slot(
    ledger: Path, make_quota: MakeQuota
) -> None:
    """SIGSTOP between grant and write for longer than the window: nobody takes the slot."""
    with _child(ledger, 2, "unsent") as (child, _), ThreadPoolExecutor() as pool:
        child.send_signal(signal.SIGSTOP)
        quota = make_quota(a=(2, 1.0))
        waiting = pool.submit(quota.acquire, "m")
        time.sleep(1.6)
        assert not waiting.done()
        killed = time.monotonic()
        kill(child)
        assert waiting.result(timeout=10).start_at >= killed + 1.1


def test_reservations_of_a_killed_process_are_free(ledger: Path, make_quota: MakeQuota) -> None:
    """It had reserved the next slot; once it is dead the slot is handed out again."""
    with _child(ledger, 2, "queue"):
        quota = make_quota(a=(2, 1.0))
        key_log = quota._running().allocator.key_logs["a"]
        assert (len(key_log.past), len(key_log.planned)) == (2, 2)
    assert quota.acquire("m").start_at == pytest.approx(key_log.past[0].at + 1.1, abs=0.6)
    assert not key_log.planned


def test_ledger_of_an_earlier_boot_holds_until_the_boot_has_left_the_window(
    ledger: Path, make_quota: MakeQuota
) -> None:
    """What was used before the boot is at least as old as the boot."""
    quota = make_quota(a=(1, 60.0))
    _send(quota, 1)
    quota.close()
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("UPDATE meta SET boot = 'another'")
        db.execute("UPDATE lanes SET hold = 1e9, hold_epoch = ?", (time.time() + 500,))
        db.commit()
    longer = 10 * clock.now()
    quota = make_quota(a=(1, longer))
    key_log = quota._running().allocator.key_logs["a"]
    assert key_log.floor == pytest.approx(clock.booted_at(), abs=1)
    assert _opens(quota) == pytest.approx(key_log.floor + longer + 0.1, abs=1)
    assert key_log.hold == pytest.approx(clock.now() + 500, abs=5)


def test_lost_ledger_counts_as_full(ledger: Path, make_quota: MakeQuota) -> None:
    """The lock file remembers that there was one: nothing goes for a window and a margin."""
    quota = make_quota(a=(1, 0.5))
    _send(quota, 1)
    quota.close()
    for path in ledger.parent.glob("ledger.db*"):
        if path.is_file() and path.suffix != ".lock":
            path.unlink()
    opened = time.monotonic()
    assert make_quota(a=(1, 0.5)).acquire("m").start_at >= opened + 0.6


def test_fresh_ledger_counts_as_empty(make_quota: MakeQuota) -> None:
    """Nobody waits on the first run of a machine."""
    assert make_quota(a=(1, 60.0)).acquire("m").waited < 5


@pytest.mark.parametrize("damage", ["garbage", "torn", "empty", "older"])
def test_unusable_ledger_is_moved_aside_and_counts_as_full(
    damage: str, ledger: Path, make_quota: MakeQuota
) -> None:
    """Nothing is deleted, and nothing goes before what could have been used has left."""
    quota = make_quota(a=(1, 0.5))
    _send(quota, 1)
    quota.close()
    _damage(ledger, damage)
    opened = time.monotonic()
    assert make_quota(a=(1, 0.5)).acquire("m").start_at >= opened + 0.6
    kept = list(ledger.parent.glob("ledger.db.unusable-*"))
    assert bool(kept) == (damage != "empty")


def _damage(ledger: Path, how: str) -> None:
    whole = ledger.read_bytes()
    if how == "garbage":
        ledger.write_bytes(b"not a database, " * 500)
    elif how == "torn":
        ledger.write_bytes(whole[: len(whole) // 2])
    elif how == "empty":
        ledger.write_bytes(b"")
    else:
        with closing(sqlite3.connect(ledger)) as db:
            db.execute("PRAGMA user_version = 0")


def test_ledger_of_a_newer_version_is_refused(ledger: Path, make_quota: MakeQuota) -> None:
    """It is not ours to move aside."""
    make_quota(a=(1, 1.0)).close()
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StateError, match="newer version"):
        make_quota(a=(1, 1.0))


def test_folder_that_cannot_be_made_is_a_state_error(tmp_path: Path) -> None:
    """The message names the path and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="make"):
        Quota(tmp_path / "file" / "ledger.db", [AppId("a")])


def test_ledger_removed_under_a_running_process(ledger: Path, make_quota: MakeQuota) -> None:
    """It goes on with a new file, in which the old window counts as full."""
    quota = make_quota(a=(2, 1.0))
    _send(quota, 1)
    shutil.rmtree(ledger.parent)
    removed = time.monotonic()
    (grant,) = _send(quota, 1)
    assert grant.start_at >= removed + 1.0
    assert make_quota(a=(2, 1.0)).snapshot()[0].used == 1


def test_owner_files_removed_under_a_running_process(ledger: Path, make_quota: MakeQuota) -> None:
    """Others may take it for dead; it shows up again and nobody sends too much."""
    quota, other = make_quota(a=(2, 1.0)), make_quota(a=(2, 1.0))
    shutil.rmtree(f"{ledger}.owners")
    starts = sorted(grant.start_at for q in (quota, other, quota) for grant in _send(q, 1))
    assert starts[2] - starts[0] >= 1.08
    owners = list(Path(f"{ledger}.owners").iterdir())
    assert len(owners) == 2


def test_full_disk_is_a_state_error_and_passes(make_quota: MakeQuota) -> None:
    """Callers get an error that names the remedy; when there is room again, the quota goes on."""
    quota = make_quota(a=(2000, 60.0))
    _send(quota, 1)
    db = quota._running()._ledger._store.db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateError, match="disk"):
        _send_each(quota, 2000)
    db.execute("PRAGMA max_page_count = 1000000")
    assert _send(quota, 1)
    assert quota.statistics().kept


def test_proof_can_be_read_without_joining_the_run(ledger: Path, make_quota: MakeQuota) -> None:
    """When all processes are gone, the log still tells what they did."""
    quota = make_quota(a=(3, 60.0))
    _send(quota, 2)
    quota.set_limit("a", 5)
    quota.disable("a", "revoked")
    quota.close()
    pool = [AppId("a", windows=(Window(3, 60.0),))]
    (use,) = read_statistics(ledger, "run", pool, 0.1).app_ids
    assert (use.sends, use.windows[0].limit, use.disabled) == (2, 5, "revoked")
    with pytest.raises(StateError, match="state folder"):
        read_statistics(ledger.with_name("none.db"), "run", pool, 0.1)


def test_log_is_pruned_but_for_windows_and_running_runs(
    ledger: Path, make_quota: MakeQuota
) -> None:
    """Old rows of ended runs go; what a long window still counts stays."""
    quota = make_quota(a=(9, 1.0), b=(9, 5 * 86400.0), run_id="old")
    for _ in range(4):
        _send(quota, 1)
    quota.close()
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("UPDATE uses SET at = at - 200000, sent = sent - 200000")
        db.commit()
    quota = make_quota(a=(9, 1.0), b=(9, 5 * 86400.0), run_id="new")
    with closing(sqlite3.connect(ledger)) as db:
        rows = db.execute("SELECT alias, count(*) FROM uses GROUP BY alias").fetchall()
    assert dict(rows) == {"b": 2}
    assert {state.alias: state.used for state in quota.snapshot()} == {"a": 0, "b": 2}


def test_window_longer_than_the_log_is_held(ledger: Path, make_quota: MakeQuota) -> None:
    """A window that reaches back behind what was pruned counts as full until it does not."""
    quota = make_quota(a=(9, 1.0), run_id="old")
    _send(quota, 1)
    quota.close()
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("UPDATE uses SET at = at - 200000, sent = sent - 200000")
        db.commit()
    make_quota(a=(9, 1.0)).close()
    now = time.monotonic()
    assert _opens(make_quota(a=(9, 7 * 86400.0))) > now + 5 * 86400
    assert _opens(make_quota(a=(9, 86400.0))) < now


def test_lock_file_removed_while_held(tmp_path: Path) -> None:
    """Two files would be two locks: whoever waits for the old one notices and takes the new."""
    path = tmp_path / "lock"
    first, second, order = FileLock(path), FileLock(path), list[str]()

    def contend() -> None:
        with second:
            order.append("second")

    with first:
        thread = threading.Thread(target=contend)
        thread.start()
        path.unlink()
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]
    assert path.exists()
    first.close()
    second.close()
