"""
The database server's clock, as this process can know it.

In memory every instant is on this machine's monotonic clock, which means nothing on another
machine. Rows are on the clock of the one thing that all machines share: the server, in seconds
since the epoch. So each process keeps the shift between the two, as an interval that holds it:

    before  = monotonic                    the server read its clock somewhere between
    server  = clock_timestamp()            the two, so the true shift lies between
    after   = monotonic                    server - after  and  server - before

Every transaction and every look brings such a bracket. The interval is the intersection of all,
widened by what two disciplined clocks can drift apart since the last one. So it is about as wide as
the shortest round trip of the last moments, however slow the others were.

An instant is made later by each conversion, never earlier: written with the upper end, read with
the lower one. A send of another process then counts from an instant at which it had surely
happened, which is what a longer margin would do, but by exactly as much as is not known, on both
sides, and not at all for this process's own sends. A slow connection costs waiting, no violation.

A bracket that misses the interval can only mean that a clock was set (or that this machine slept,
which its monotonic clock does not count). Then nothing from before can be placed any more; the
ledger raises its floor to now, so all windows count as full, and goes on. A step that is smaller
than the round trip cannot be told from it; the margin is there for that. A step while no process
runs cannot be seen at all.
"""

from __future__ import annotations

import math

__all__ = ["ServerClock"]

_DRIFT = 1e-3  # seconds per second: both clocks may be slewed, each by 500 ppm
_RESOLUTION = 2e-6  # seconds: an epoch in a double, a server that counts microseconds


class ServerClock:
    """The interval of server time minus ours, seconds."""

    def __init__(self) -> None:
        self.low, self.high = -math.inf, math.inf
        self._when = 0.0

    def learn(self, before: float, server: float, after: float) -> bool:
        """Take in a reading of the server's clock and what ours said around it.

        Returns whether it contradicts all earlier ones: a clock was set.
        """
        drift = _DRIFT * max(0.0, after - self._when)
        low, high = server - after - _RESOLUTION, server - before + _RESOLUTION
        both = (max(low, self.low - drift), min(high, self.high + drift))
        stepped = both[0] > both[1]
        self.low, self.high = (low, high) if stepped else both
        self._when = after
        return stepped
