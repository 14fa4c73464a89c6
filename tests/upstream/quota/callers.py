"""Callers of a quota, as tests have them: in this thread, or waiting in others."""

from __future__ import annotations

import time

import pytest

from tasks.upstream.quota import Grant, Quota

__all__ = ["BOTH_STORES", "send", "until_in_line"]

BOTH_STORES = pytest.mark.parametrize("place", ["file", "database"], indirect=True)
"""A module with this mark runs on both kinds of store."""


def send(quota: Quota, count: int, model: str = "m") -> list[Grant]:
    """So many calls, one after the other, each over at once."""
    grants = []
    for _ in range(count):
        grants.append(quota.acquire(model))
        quota.sent(grants[-1])
        quota.settle(grants[-1])
    return grants


def until_in_line(quota: Quota, count: int) -> None:
    """Until that many callers of the quota have a place in line."""
    deadline = time.monotonic() + 10
    thread = quota._running()
    while len(thread.allocator.mine) + len(thread._wait_list._waiting) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)
