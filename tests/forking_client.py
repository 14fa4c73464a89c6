"""
What is started in place of an interpreter: it has a process forked that is one, see tests/forking.py.

    python tests/forking_client.py ADDRESS ARGUMENT...    the arguments of that interpreter
"""

from __future__ import annotations

import os
import signal
import socket
import sys


def main(address: str, *arguments: str) -> int:
    """Have it forked, with this process's pipes, environment and folder; its exit code."""
    with socket.socket(socket.AF_UNIX) as channel:
        if not _ask(channel, address):
            # The server could not import all, which the interpreter is to say for itself.
            os.execv(sys.executable, [sys.executable, *arguments])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other, which ends first
        for number in (0, 1):  # the other end sees when that process is gone
            os.close(number)
        return int.from_bytes(channel.recv(1), "little")


def _ask(channel: socket.socket, address: str) -> bool:
    """Whether a process was forked, once the server has imported all."""
    variables = (name + b"=" + value for name, value in os.environb.items())
    told = b"\0".join((os.getcwdb(), *variables))  # noqa: PTH109 - pathlib takes long to import
    try:
        channel.connect(address)
        socket.send_fds(channel, [len(told).to_bytes(8, "little")], [0, 1, 2])
        channel.sendall(told)
        return bool(channel.recv(1))
    except ConnectionError:
        return False


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
