"""
What pytest-xdist starts as a worker: it has one forked, see tests/worker_server.py, and waits for it.

    python tests/worker_client.py ADDRESS ARGUMENT...    the arguments of the interpreter that it stands for
"""

from __future__ import annotations

import os
import signal
import socket
import sys


def main(address: str, *arguments: str) -> int:
    """Have a worker forked that uses the pipes of this process; its exit code."""
    with socket.socket(socket.AF_UNIX) as channel:
        if not _ask(channel, address):
            # Something cannot be imported, and each worker is to say so for itself.
            os.execv(sys.executable, [sys.executable, *arguments])
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # Ctrl-C is for the worker, which ends its fixtures
        for number in (0, 1):  # their ends are the worker's alone: xdist sees when it is gone
            os.close(number)
        return int.from_bytes(channel.recv(1), "little")


def _ask(channel: socket.socket, address: str) -> bool:
    """Whether the server, when it has collected, forks a worker."""
    try:
        channel.connect(address)
        socket.send_fds(channel, [b"+"], [0, 1, 2])
        return bool(channel.recv(1))
    except ConnectionError:
        return False


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
