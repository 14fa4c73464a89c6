"""
The fork server, from which the shards' processes come: it has imported what they need, and forks.

A process of its own for each shard would take two seconds of CPU to import the same, before its first
call. The command forks the fork server from itself, as long as it has one thread: what it has
imported until then is not imported twice. Whoever has threads already starts an interpreter.
"""

from __future__ import annotations

import _thread
import atexit
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast

from tasks.core.errors import StateError

__all__ = [
    "UNKNOWN_EXIT",
    "EarlyCall",
    "Question",
    "ShardProcess",
    "fork_here",
    "import_flow_parts",
    "prepare_call",
    "spawn",
    "start",
    "warm_up",
]

UNKNOWN_EXIT = 255
"""The exit code of a process whose fork server was killed: it may still be there."""

_T = TypeVar("_T")

_LOOP = "flows.shards.fork_server_loop"
_STOPS = {signal.SIGINT, signal.SIGTERM}


class ShardProcess:
    """A process that the fork server has forked; its exit code is told by the fork server."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._code: int | None = None
        self.pid = self._receive()
        """None when the fork server was lost before it told the number."""

    @property
    def exitcode(self) -> int | None:
        """As multiprocessing has it: -N for a signal N, None while it lives."""
        self.join(0)
        return self._code

    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.exitcode is None

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for so many seconds."""
        if self._code is None:
            self._channel.settimeout(timeout)
            # Not there yet: without a timeout in two ways.
            with suppress(TimeoutError, BlockingIOError):
                code = self._receive()
                self._code = UNKNOWN_EXIT if code is None else code
                self._channel.close()

    def terminate(self) -> None:
        """Ask it to stop; one that has ended is fine."""
        self.send_signal(signal.SIGTERM)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal; one that has ended is fine."""
        if self.pid and self._code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def tell(self, what: object) -> None:
        """Send it an object by pickle; one that has ended hears nothing."""
        self._channel.settimeout(None)
        with suppress(BrokenPipeError, ConnectionResetError):
            self._channel.sendall(pickle.dumps(what))

    def hear(self) -> bytes:
        """All that it says until it has ended; empty if it was killed."""
        self._channel.settimeout(None)
        said = b"".join(iter(partial(self._channel.recv, 65536), b""))
        self._channel.close()
        self._code = int.from_bytes(said[-8:], "little", signed=True) if said else UNKNOWN_EXIT
        return said[:-8]

    def _receive(self) -> int | None:
        try:
            data = self._channel.recv(8)
        except ConnectionResetError:
            return None
        return int.from_bytes(data, "little", signed=True) if data else None


@dataclass(frozen=True, slots=True)
class _ForkServer:
    pid: int
    control: socket.socket
    """Its other end is the fork server's alone, which leaves when this one is closed."""
    owner: int
    """The process that started it."""

    def is_alive(self) -> bool:
        if self.owner != os.getpid():
            return False
        with suppress(ChildProcessError):
            return os.waitpid(self.pid, os.WNOHANG) == (0, 0)
        return False


_lock = threading.Lock()
_running: list[_ForkServer] = []
_prepared: list[ShardProcess] = []
"""Processes that wait for a `call` of what they have prepared."""


def fork_here() -> None:
    """Fork the fork server from this process, if it has one thread; else start an interpreter.

    Doing it twice changes nothing. What is exported and where one works is told at each `start`.
    """
    # Also threads that `threading` does not know of. Those of the libraries in C know what a fork is.
    _ensure(_spawn if _thread._count() else _fork)  # noqa: SLF001 - no public name


def warm_up() -> None:
    """Start the fork server as an interpreter of its own and return; it imports meanwhile.

    Doing it twice changes nothing.
    """
    _ensure(_spawn)


def start(
    call: Callable[[], Any] | Question | EarlyCall, environment: Mapping[str, str]
) -> ShardProcess:
    """Run `call`, which is pickled, in a process of its own, which leaves with this one."""
    process = _ask(_ensure(_spawn))
    if process.pid is None:  # the fork server was killed in this moment
        _forget()
        process = _ask(_ensure(_spawn))
    process.tell((call, dict(environment), str(Path.cwd())))
    return process


def call(function: Callable[[], _T], *, prepared: bool = False) -> _T:
    """What `function` returns or raises, in a process of its own: its memory goes with it.

    `prepared`: it is what `prepare_call` was for.

    Raises:
        StateError: the process was killed.
    """
    question = Question(function)
    process = (_prepared_one(question) if prepared else None) or start(question, os.environ)
    try:
        answer = process.hear()
    except BaseException:
        process.send_signal(signal.SIGKILL)
        raise
    if not answer:
        msg = (
            f"{function} was ended from outside, as by a machine without memory: the answers are in the "
            "journal, run again"
        )
        raise StateError(msg)
    good, found = pickle.loads(answer)  # noqa: S301 - from our own process
    if good:
        return cast("_T", found)
    raise found


def prepare_call(prepare: Callable[[], object]) -> None:
    """Have a process call `prepare`, as one that imports for long, and wait for a `call` of it."""
    _prepared.append(start(EarlyCall(partial(_wait_prepared, prepare)), os.environ))


def _wait_prepared(prepare: Callable[[], object], hear: Callable[[], Question]) -> bytes:
    # Ctrl-C is for the one who waits.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare()
    try:
        return hear().answer()
    except EOFError:
        return b""


def _prepared_one(question: Question) -> ShardProcess | None:
    """The process that waits, told the question; None: there is none."""
    while _prepared:
        process = _prepared.pop()
        if process.is_alive():
            process.tell(question)
            return process
    return None


@dataclass(frozen=True, slots=True)
class Question:
    """A call whose end somebody waits for."""

    function: Callable[[], Any]

    def answer(self) -> bytes:
        """What it returns or raises, by pickle."""
        # Ctrl-C is for the one who waits.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return pickle.dumps((True, self.function()))
        except Exception as error:  # noqa: BLE001 - raised where somebody waits
            return pickle.dumps((False, error))


@dataclass(frozen=True, slots=True)
class EarlyCall:
    """A call that begins before all is known that it needs."""

    function: Callable[[Callable[[], Any]], bytes | None]
    """
    Gets what waits for the next object that its process is told, and raises EOFError once the run is
    gone. What it returns is the process's answer.
    """


def _ask(server: _ForkServer) -> ShardProcess:
    ours, theirs = socket.socketpair()
    with theirs, suppress(BrokenPipeError):
        socket.send_fds(server.control, [b"+"], [theirs.fileno()])
    return ShardProcess(ours)


def import_flow_parts() -> None:
    """Import what Prefect itself imports at the first flow or task run only, in every process anew."""
    for name in ("fastapi.encoders", "prefect.task_engine", "prefect.utilities.visualization"):
        import_module(name)


def _ensure(begin: Callable[[socket.socket, socket.socket], int]) -> _ForkServer:
    with _lock:
        if not (_running and _running[0].is_alive()):
            ours, theirs = socket.socketpair()
            with theirs:
                _running[:] = [_ForkServer(begin(ours, theirs), ours, os.getpid())]
            atexit.register(ours.close)
        return _running[0]


def _forget() -> None:
    """Wait for the end of a fork server that has let go of its sockets."""
    with _lock, suppress(ChildProcessError):
        while _running:
            os.waitpid(_running.pop().pid, 0)


def _spawn(_ours: socket.socket, theirs: socket.socket) -> int:
    return spawn(_LOOP, theirs)


def spawn(module: str, control: socket.socket) -> int:
    """Start an interpreter that runs `module`, with `control` as its stdin; returns its pid.

    It finds modules where this process does, and not in the folder where it happens to work.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(one or "." for one in sys.path)}
    stdin = (os.POSIX_SPAWN_DUP2, control.fileno(), 0)
    command = [sys.executable, "-P", "-m", module]
    return os.posix_spawn(sys.executable, command, environment, file_actions=[stdin])


def _fork(ours: socket.socket, theirs: socket.socket) -> int:
    # What is not written yet would be written by both.
    sys.stdout.flush()
    sys.stderr.flush()
    # Until the fork server ignores them.
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        pid = os.fork()
        if pid == 0:
            _become(ours, theirs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
    return pid


def _become(ours: socket.socket, theirs: socket.socket) -> None:
    """Be the fork server; never returns."""
    try:
        ours.close()
        # Not those that a display of the command has put in their place.
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        # By its name: it imports the flow, which imports this module.
        import_module(_LOOP).serve(theirs)
    except Exception:  # noqa: BLE001 - what would leave here would run the rest of the command
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)
