"""Signs of life that are only compared with themselves: two machines' clocks never meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

__all__ = ["Stillness"]


class Stillness:
    """How long something that should change has not."""

    def __init__(self, bound: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._bound = bound
        self._clock = clock
        self._last: Hashable = None
        self._since = clock()

    def look(self, sign: Hashable) -> bool:
        """Whether the sign has been the same for longer than the bound, in seconds.

        None: there was nothing to see, which is no change either.
        """
        if sign is not None and sign != self._last:
            self._last, self._since = sign, self._clock()
        return self._clock() - self._since > self._bound
