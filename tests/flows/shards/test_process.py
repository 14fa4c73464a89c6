"""The end of a shard's process."""

from __future__ import annotations

import os
from multiprocessing.process import BaseProcess

import pytest

from flows.shards.process import end_process


class Unstarted(BaseProcess):
    """A process that the fork server lost before it told its number."""

    pid = None
    exitcode = 255

    def is_alive(self) -> bool:
        return True

    def join(self, timeout: float | None = None) -> None:
        del timeout


def test_a_process_without_a_number_is_not_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Number 0 would be every process of our own group."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    end_process(Unstarted())
    assert sent == []
