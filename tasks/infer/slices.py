"""Guided slices: big ones first, small ones last, so that the end of a shard is reached together."""

from __future__ import annotations

__all__ = ["AT_ONCE", "MOST_INPUTS", "guided"]

AT_ONCE = 4
"""Slices of a shard in work at a time. Their calls share the process's threads, so this does not
bound the calls in flight; it bounds what is in memory and the number of task runs."""

MOST_INPUTS = 500
"""Inputs of the largest slice."""


def guided(inputs: int, threads: int, *, at_once: int = AT_ONCE) -> list[tuple[int, int]]:
    """Ranges [first, last): each takes 1 / (at_once + 1) of what is left.

    Guided self-scheduling (Polychronopoulos and Kuck, 1987), about at_once * ln(inputs / threads)
    slices; never so small that the slices in work could not occupy all `threads`.
    """
    least = -(-threads // at_once)
    ranges, first = [], 0
    while first < inputs:
        share = -(-(inputs - first) // (at_once + 1))
        last = min(inputs, first + min(MOST_INPUTS, max(share, least)))
        ranges.append((first, last))
        first = last
    return ranges
