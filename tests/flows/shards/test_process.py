"""The end of a shard's process."""

from __future__ import annotations

import os
import socket

import pytest

from flows.shards.fork_server import UNKNOWN_EXIT, ShardProcess
from flows.shards.process import end_process


def test_a_process_without_a_number_is_not_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fork server was lost before it told the number; 0 would be every process of our own group."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    ours, theirs = socket.socketpair()
    theirs.close()
    process = ShardProcess(ours)
    process.terminate()
    end_process(process)
    assert (process.exitcode, sent) == (UNKNOWN_EXIT, [])
