"""
Interpreters that are forked from one that has imported all, wherever some program starts one.

    server      imports, then forks a process for each client; it leaves with the one who started it
    client      what that program starts, tests/forking_client.py; it ends with the forked process
    listener    a socket that the clients connect to
    channel     such a connection. up: the client's stdin, stdout and stderr, its folder and environment;
                down: one byte when a process is forked, and its exit code
"""

from __future__ import annotations

import gc
import os
import random
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

__all__ = ["fork_for_clients", "forking"]

_CLIENT = Path(__file__).with_name("forking_client.py")
_PATIENCE = 30.0
"""Seconds for a server to end, which has only to see that its input has."""


@contextmanager
def forking(module: str, *arguments: str) -> Iterator[list[str]]:
    """Start the server, which is `module`; gives the command that stands for an interpreter.

    The module gets the number of its listener as its first argument, for `fork_for_clients`.
    """
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        address = str(Path(folder, "forking"))
        listener.bind(address)
        listener.listen()
        number = listener.fileno()
        server = subprocess.Popen(
            [sys.executable, "-m", module, str(number), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[number],
        )
        listener.close()
        try:
            yield [sys.executable, "-S", str(_CLIENT), address]
        finally:
            server.communicate(timeout=_PATIENCE)


@dataclass(frozen=True, slots=True)
class _Forked:
    pid: int
    end: int
    """A file that is ready when it has ended."""
    channel: socket.socket

    @property
    def watched(self) -> tuple[int, socket.socket]:
        """What is ready when something is to be done."""
        return self.end, self.channel

    def look_after(self, ready: Sequence[object]) -> bool:
        """Whether it goes on; one whose client was killed is killed."""
        if self.channel in ready:
            signal.pidfd_send_signal(self.end, signal.SIGKILL)
        elif self.end not in ready:
            return True
        _, status = os.waitpid(self.pid, 0)
        os.close(self.end)
        with self.channel, suppress(BrokenPipeError):
            self.channel.sendall(bytes([os.waitstatus_to_exitcode(status) % 256]))
        return False


def fork_for_clients(number: int) -> bool:
    """Fork a process for each client; returns true in each of them, and false in the server at its end.

    `number` is that of the listener.
    """
    gc.freeze()  # no collection writes to the pages that are shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    forked: list[_Forked] = []
    with socket.socket(fileno=number) as listener:
        while 0 not in (
            ready := wait([0, listener, *(one for each in forked for one in each.watched)])
        ):
            forked = [one for one in forked if one.look_after(ready)]
            if listener not in ready or (asked := _accept(listener)) is None:
                continue
            pid = os.fork()
            if not pid:
                break
            forked.append(asked.forked(pid))
        else:
            return False
    for one in forked:
        one.channel.close()
        os.close(one.end)
    asked.become()
    return True


def _accept(listener: socket.socket) -> _Asked | None:
    """What a client asks; nothing of one that was ended meanwhile."""
    channel, _ = listener.accept()
    with suppress(ConnectionError):
        size, pipes, _, _ = socket.recv_fds(channel, 8, 3)
        told = channel.recv(int.from_bytes(size, "little"), socket.MSG_WAITALL)
        if told:
            return _Asked(channel, pipes, told)
    channel.close()
    return None


@dataclass(frozen=True, slots=True)
class _Asked:
    channel: socket.socket
    pipes: Sequence[int]
    told: bytes
    """The folder and each variable, with zeros between."""

    def forked(self, pid: int) -> _Forked:
        """For the server: the process that is forked for it."""
        for pipe in self.pipes:
            os.close(pipe)
        with suppress(BrokenPipeError):
            self.channel.sendall(b"+")
        return _Forked(pid, os.pidfd_open(pid), self.channel)

    def become(self) -> None:
        """For that process: be as the client is."""
        self.channel.close()
        for number, pipe in enumerate(self.pipes):
            os.dup2(pipe, number)
            os.close(pipe)
        folder, *variables = self.told.split(b"\0")
        os.chdir(folder)
        os.environb.clear()
        os.environb.update(tuple(one.split(b"=", 1)) for one in variables)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        gc.enable()
        random.seed()  # not the same in each
