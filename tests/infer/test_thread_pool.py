from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tasks.core.errors import Stopped
from tasks.infer.thread_pool import START, AdaptiveThreadPool
from tests.runs import await_condition

WAIT = 20.0


def run(pool: AdaptiveThreadPool, count: int, step: Callable[[], None]) -> None:
    """Run a step many times and wait until all are through."""
    done = threading.Semaphore(0)

    def one() -> None:
        step()
        done.release()

    for _ in range(count):
        pool.submit(one)
    assert all(done.acquire(timeout=WAIT) for _ in range(count))


def test_as_many_at_work_as_the_size_says() -> None:
    """Steps that wait for one another get through with that many threads, and never need more."""
    pool, together = AdaptiveThreadPool(4), threading.Barrier(4)
    now, most = [0], [0]
    lock = threading.Lock()

    def step() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        together.wait(WAIT)
        with lock:
            now[0] -= 1

    run(pool, 40, step)
    pool.close()
    assert most == [4]


def test_more_threads_while_latency_holds() -> None:
    """Replies that take as long as ever, with work waiting, bring more threads up to the bound."""
    pool, waits = AdaptiveThreadPool(4 * START, START), threading.Event()

    def step() -> None:
        waits.wait(0.01)  # an endpoint that leaves the CPU alone
        pool.answered(0.5)

    run(pool, 40 * START, step)
    pool.close()
    assert pool.size == 4 * START


def test_no_more_threads_when_replies_take_longer() -> None:
    """An endpoint that takes longer the more calls it has is not given more after that."""
    pool, waits = AdaptiveThreadPool(512, START), threading.Event()

    def step() -> None:
        waits.wait(0.01)
        pool.answered(0.5 * pool.size / START)

    run(pool, 40 * START, step)
    pool.close()
    assert START < pool.size <= 4 * START


def test_no_more_threads_without_work_for_them() -> None:
    """A step at a time is no reason to grow."""
    pool = AdaptiveThreadPool(512, START)
    for _ in range(10 * START):
        run(pool, 1, lambda: pool.answered(0.5))
    pool.close()
    assert pool.size == START


def test_overload_takes_threads_away_once_a_round() -> None:
    """However many calls of a round are refused, it is one overload."""
    pool = AdaptiveThreadPool(512, 100)
    for _ in range(5):
        pool.overloaded()
    assert pool.size == 70
    for _ in range(70):
        pool.answered(0.5)
    pool.overloaded()
    assert pool.size == 49
    pool.close()


def test_a_closed_pool_takes_no_steps_and_drops_those_that_wait() -> None:
    """Closing ends what is at work, forgets the rest, and says so to who comes later."""
    pool, started, ran = AdaptiveThreadPool(1), threading.Event(), []
    go_on = threading.Event()
    pool.submit(lambda: (started.set(), go_on.wait(WAIT)))
    pool.submit(lambda: ran.append(1))
    assert started.wait(WAIT)
    closing = threading.Thread(target=pool.close)
    closing.start()
    await_condition(lambda: pool._closed, "it closes")
    go_on.set()
    closing.join(WAIT)
    assert ran == []
    with pytest.raises(Stopped):
        pool.submit(lambda: None)
