"""Callers of a quota, as tests have them: in this thread, or waiting in others."""

from __future__ import annotations

import pytest

from tasks.upstream.quota import Grant, Quota
from tests.runs import await_condition

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
    thread = quota._running()

    def in_line() -> bool:
        return len(thread.allocator.mine) + len(thread._wait_list._waiting) >= count

    await_condition(in_line, f"{count} callers in line", 10)
