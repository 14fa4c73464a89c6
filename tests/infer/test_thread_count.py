from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from tasks.core.quotas import AppId, Window
from tasks.infer.thread_count import MOST_THREADS, UNLIMITED, default_threads


def test_the_burst_of_a_small_quota_decides() -> None:
    """Ten keys of 3 a minute need 30 calls in flight for the start of a window."""
    assert default_threads([AppId(f"a{n}", windows=(Window(3, 60),)) for n in range(10)]) == 30


def test_steady_state_decides_on_short_windows() -> None:
    """Ten a second at 20 s a call are 200 in flight, though the burst is only 10."""
    assert default_threads([AppId("a", windows=(Window(10, 1),))]) == 200


def test_bounds() -> None:
    """No quota gets a fair default, max_in_flight is obeyed, and there is an upper bound."""
    assert default_threads([AppId("a")]) == UNLIMITED
    assert default_threads([AppId("a", max_in_flight=2)]) == 2
    assert default_threads([AppId("a", windows=(Window(5000, 60),))]) == MOST_THREADS


_ENSURE = """
import resource, sys
from tasks.infer.thread_count import ensure_open_files
soft, hard, threads = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
ensure_open_files(threads)
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("limits", "threads", "said"),
    [
        ((64, 64), 6, "64 64"),
        ((64, 4096), 512, "576 4096"),
        ((64, 64), 200, "need 254 open files in a process and 64 are allowed: run `ulimit -n 254`"),
    ],
)
def test_open_files_are_enough_or_refused_with_the_number(
    limits: tuple[int, int], threads: int, said: str
) -> None:
    """Few calls work under `ulimit -n 64`, the soft limit is raised, a hard one is named."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < max(limits):
        pytest.skip("the hard limit here is lower already")
    command = [sys.executable, "-c", _ENSURE, *map(str, (*limits, threads))]
    done = subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)
    assert said in done.stdout + done.stderr
