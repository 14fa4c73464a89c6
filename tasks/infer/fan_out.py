"""Run steps on a pool and go on when the last is done, without a thread that waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

__all__ = ["CountDownLatch", "fan_out"]

_T = TypeVar("_T")


def fan_out(
    submit: Callable[..., object],
    steps: Sequence[Callable[[], _T]],
    then: Callable[[list[_T]], None],
    fail: Callable[[BaseException], None],
) -> None:
    """Queue every step; the thread that ends the last one calls `then` with results in order.

    `submit(step, *args)` queues a call. The first step or `then` that raises calls `fail` instead.
    """
    results: list[Any] = [None] * len(steps)
    left = [len(steps)]
    lock = threading.Lock()

    def run(number: int) -> None:
        try:
            results[number] = steps[number]()
            with lock:
                left[0] -= 1
                last = left[0] == 0
            if last:
                then(results)
        except BaseException as error:  # noqa: BLE001 - it must reach the waiting slice, whatever it is
            fail(error)

    for number in range(len(steps)):
        submit(run, number)


class CountDownLatch:
    """Opens when `count` things are done, or at once with the first failure."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def done(self) -> None:
        """Count one more as done."""
        with self._changed:
            self._left -= 1
            if self._left <= 0:  # one wake-up in all: each would take Python's lock from a call
                self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Open with an error; the first one counts."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def wait(self) -> None:
        """Block until open.

        Raises:
            BaseException: what the first failure was.
        """
        with self._changed:
            # Prefect delivers cancellation to the main thread between bytecodes: wake for it.
            while self._left > 0 and self._error is None:
                self._changed.wait(1.0)
            if self._error is not None:
                raise self._error
