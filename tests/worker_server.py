"""
The process that collects all tests and of which pytest-xdist's workers are forked.

Each would import all tests and what they import, and compile them in a fresh clone, at the same time as
the others: fifteen seconds of CPU. As it is they find all imported, and only list the tests.

    stdin       ends when the controller does, or when it has no more tests
    listener    a socket: each connection is a client's, with its stdin, stdout and stderr
    channel     such a connection; up: one byte when a worker is forked, and its exit code
"""

from __future__ import annotations

import gc
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType

import pytest

__all__ = ["worker_server"]

_CLIENT = Path(__file__).with_name("worker_client.py")
_ONLY_COLLECT = ("--collect-only", "-n0", "-s", "-p", "no:cacheprovider")
_PATIENCE = 30.0
"""Seconds for the server to end, which has only to see that its input has."""


@contextmanager
def worker_server(paths: Sequence[str]) -> Iterator[str]:
    """Start it, to collect what is in `paths`; gives the command that stands for a worker's interpreter."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        address = Path(folder, "workers")
        listener.bind(str(address))
        listener.listen()
        number = listener.fileno()
        server = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(number), *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[number],
        )
        listener.close()
        try:
            yield shlex.join([sys.executable, "-S", str(_CLIENT), str(address)])
        finally:
            server.communicate(timeout=_PATIENCE)


@dataclass(frozen=True, slots=True)
class _Worker:
    pid: int
    ended: int
    """A file that is ready when it has ended."""
    channel: socket.socket

    def look_after(self, ready: Sequence[object]) -> bool:
        """Whether it goes on; one whose client was killed is killed."""
        if self.channel in ready:
            signal.pidfd_send_signal(self.ended, signal.SIGKILL)
        elif self.ended not in ready:
            return True
        _, status = os.waitpid(self.pid, 0)
        os.close(self.ended)
        with self.channel, suppress(BrokenPipeError):
            self.channel.sendall(bytes([os.waitstatus_to_exitcode(status) % 256]))
        return False


def _serve(listener: socket.socket, paths: Sequence[str]) -> None:
    """Collect, then fork for each client; none is answered where something cannot be imported."""
    gc.disable()  # a sixth of what imports take
    code = pytest.main([*_ONLY_COLLECT, *paths])
    if code == pytest.ExitCode.OK:
        gc.freeze()  # no collection writes to the pages that the workers share
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the workers end, and then xdist
        if pipes := _fork_workers(listener):
            _be_worker(pipes)


def _fork_workers(listener: socket.socket) -> list[int]:
    """Returns in each worker, with its client's pipes, and in the server at its end, with none."""
    workers: list[_Worker] = []
    while True:
        ended, channels = (
            [worker.ended for worker in workers],
            [worker.channel for worker in workers],
        )
        ready = wait([0, listener, *ended, *channels])
        if 0 in ready:
            return []
        workers = [worker for worker in workers if worker.look_after(ready)]
        if listener in ready:
            channel, _ = listener.accept()
            pipes = socket.recv_fds(channel, 1, 3)[1]
            pid = os.fork()
            if not pid:
                return pipes
            for pipe in pipes:
                os.close(pipe)
            channel.sendall(b"+")
            workers.append(_Worker(pid, os.pidfd_open(pid), channel))


def _be_worker(pipes: Sequence[int]) -> None:
    """Do what xdist tells an interpreter that it has started with a line of Python."""
    for number, pipe in enumerate(pipes):
        os.dup2(pipe, number)
        os.close(pipe)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()
    random.seed()  # not the same in each
    sys.argv = ["-c"]
    sys.modules["__main__"] = ModuleType("__main__")
    exec(eval(sys.stdin.readline()), vars(sys.modules["__main__"]))


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as _listener:
        _serve(_listener, sys.argv[2:])
