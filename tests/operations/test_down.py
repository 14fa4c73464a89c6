"""The end of the evening."""

from __future__ import annotations

import socket

from tests.operations.stack import Operator


def test_down_stops_what_up_has_started(operator: Operator) -> None:
    """Worker, reports and server, once; their ports are free again, and doing it twice changes nothing."""
    stack = operator.stack
    command = ("down", "--folder", str(stack.folder))
    assert stack.command(*command).count("  stopped") == 3
    assert stack.command(*command).count("  was not running") == 3

    for port in (stack.port, int(stack.reports.rpartition(":")[2])):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert not list(stack.folder.glob("*.pid"))
