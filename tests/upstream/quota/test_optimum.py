"""The closed form of the optimum against a greedy sender, and its own cost."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from heapq import heapreplace

from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import optimum_seconds


def greedy(calls: int, app_ids: Sequence[AppId]) -> float:
    """One send after the other, each by the app_id that may send first."""
    sends: list[list[float]] = [[] for _ in app_ids]
    heap = [(0.0, index) for index in range(len(app_ids))]
    at = 0.0
    for _ in range(calls):
        at, index = heap[0]
        own = sends[index]
        own.append(at)
        after = [own[-w.limit] + w.seconds for w in app_ids[index].windows if len(own) >= w.limit]
        heapreplace(heap, (max([at, *after]), index))
    return at


def test_it_is_what_a_greedy_sender_takes() -> None:
    """Pools of one to four app_ids with one to three windows each, also incommensurable ones."""
    rng = random.Random(5)
    for _ in range(400):
        pool = [
            AppId(
                f"a{number}",
                windows=tuple(
                    Window(rng.randint(1, 12), rng.choice((1, 2.5, 7, 60.4, rng.randint(1, 90))))
                    for _ in range(rng.randint(1, 3))
                ),
            )
            for number in range(rng.randint(1, 4))
        ]
        calls = rng.randint(1, 150)
        assert abs(optimum_seconds(calls, pool) - greedy(calls, pool)) < 1e-3, (calls, pool)


def test_its_cost_does_not_grow_with_the_calls() -> None:
    """210 million tokens and 300,000 calls take milliseconds, with windows of a minute and a day."""
    windows = (Window(3, 60.4), Window(10_000, 86_400.4))
    pool = [AppId(f"a{number}", windows=windows) for number in range(5)]
    tokens = [AppId("t", windows=(Window(90_000, 60.4),)), AppId("u", windows=windows[:1])]
    began = time.process_time()
    for _ in range(10):
        assert optimum_seconds(300_000, pool) > 0
        assert optimum_seconds(210_000_000, tokens) > 0
    assert (time.process_time() - began) / 20 < 0.005
