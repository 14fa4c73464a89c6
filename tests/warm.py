"""
Commands as processes of their own, forked from one that has imported everything already.

Such a process is what a shell would have started: it leads a session, has pipes, environment, folder
and signal handlers of its own, and forks its fork server itself. It saves the four seconds of CPU that
Prefect, Arrow and pandas take to be imported. How a command line is started is not its subject.
The processes of pytest-xdist fork theirs of one mother in turn, see tests/forking.py.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from flows.shards import fork_server, fork_server_loop
from flows.shards.fork_server import ShardProcess
from flows.shards.fork_server_loop import live, serve
from tests.forking import fork_for_clients

__all__ = ["Command", "interpreter", "start_command", "warm_up"]


_NAME = "nightly-review"
_PATIENCE = 300.0
"""Seconds that a command may take, and one that is to begin may wait for the imports."""


class Command(ShardProcess):
    """A command that runs, with the part of Popen that the tests use."""

    def __init__(self, channel: socket.socket, out: IO[str], err: IO[str]) -> None:
        channel.settimeout(_PATIENCE)
        super().__init__(channel)
        assert self.pid is not None
        self.pid: int = self.pid
        self._pipes = (out, err)
        self._heard: list[str] = ["", ""]

    @property
    def returncode(self) -> int | None:
        """None while it lives."""
        return self.exitcode

    def poll(self) -> int | None:
        """None while it lives."""
        return self.exitcode

    def wait(self, timeout: float = _PATIENCE) -> int:
        """Its exit code, when it has ended."""
        self.join(timeout)
        if self._code is None:
            raise subprocess.TimeoutExpired(_NAME, timeout)
        return self._code

    def communicate(self, timeout: float = _PATIENCE) -> tuple[str, str]:
        """What it says on stdout and stderr until nobody holds them, and until it has ended."""
        deadline = time.monotonic() + timeout
        readers = [
            threading.Thread(target=partial(self._listen, at), daemon=True) for at in range(2)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(max(0.0, deadline - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(_NAME, timeout)
        self.wait(max(0.0, deadline - time.monotonic()))
        return self._heard[0], self._heard[1]

    def _listen(self, at: int) -> None:
        self._heard[at] = self._pipes[at].read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        self._channel.close()


def warm_up() -> None:
    """Start the process of which commands, and the shards of runs in this process, are forked."""
    _control()


def start_command(
    arguments: list[str],
    folder: Path,
    environment: dict[str, str],
    *,
    program: str = _NAME,
    mount: str = "",
    in_background: bool = False,
) -> Command:
    """Start `nightly-review`, or `prefect`, with these arguments, in a session of its own.

    `mount` is a line of shell that mounts something, for this command alone. In the background it
    ignores Ctrl-C, as a shell has it.
    """
    ours, theirs = socket.socketpair()
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    with theirs:
        socket.send_fds(_control(), [b"+"], [theirs.fileno()])
    asked = {
        "program": program,
        "arguments": arguments,
        "folder": str(folder),
        "environment": environment,
        "mount": mount,
        "in_background": in_background,
    }
    socket.send_fds(ours, [b"{"], [out_end, err_end])
    for end in (out_end, err_end):
        os.close(end)
    ours.sendall(json.dumps(asked).encode() + b"\n")
    return Command(ours, os.fdopen(out), os.fdopen(err))


interpreter = [sys.executable]
"""How a process is started of which commands are forked."""

_pids: list[int] = []
"""Of the processes that know what a command is; those that a run has started know shards only."""


def _control() -> socket.socket:
    server = fork_server._ensure(_spawn)
    if server.pid not in _pids:
        server.control.close()
        fork_server._forget()
        server = fork_server._ensure(_spawn)
    return server.control


def _spawn(_ours: socket.socket, theirs: socket.socket) -> int:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(one or "." for one in sys.path)}
    stdin = (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)
    command = [*interpreter, "-P", "-m", "tests.warm"]
    _pids.append(os.posix_spawn(command[0], command, environment, file_actions=[stdin]))
    return _pids[-1]


def _command_or_shard(lifeline: int, channel: socket.socket) -> None:
    if channel.recv(1, socket.MSG_PEEK) == b"{":
        os.close(lifeline)
        _command(channel)
    live(lifeline, channel)


def _command(channel: socket.socket) -> None:
    """Be the command."""
    os.setsid()
    _, fds, _, _ = socket.recv_fds(channel, 1, 2)
    for fd, target in zip(fds, (1, 2), strict=True):
        os.dup2(fd, target)
        os.close(fd)
    with channel, channel.makefile() as file:
        asked = json.loads(file.readline())
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    _on_interrupt(signal.SIG_IGN if asked["in_background"] else signal.default_int_handler)
    if asked["mount"]:
        _mount(asked["mount"])
    Path("/proc/self/comm").write_text(_NAME)
    _main(asked["program"], asked["arguments"])


def _main(program: str, arguments: list[str]) -> None:
    from prefect.context import refresh_global_settings_context  # noqa: PLC0415 - see _serve

    if program == "prefect":
        from prefect.cli import app  # noqa: PLC0415

        refresh_global_settings_context()
        sys.argv = [program, *arguments]
        app()
    else:
        from flows.cli.main import main  # noqa: PLC0415
        from flows.ui.terminal import mute_prefect_console  # noqa: PLC0415

        if arguments[0] == "run":  # what `up` starts would inherit it
            mute_prefect_console()
        refresh_global_settings_context()
        sys.exit(main(arguments))


def _on_interrupt(handler: signal.Handlers | Callable[..., Any]) -> None:
    """Also in what this process forks, where the one that it was forked of would take back its own."""
    signal.signal(signal.SIGINT, handler)
    os.register_at_fork(after_in_child=partial(signal.signal, signal.SIGINT, handler))


def _mount(line: str) -> None:
    """Run it in a mount namespace that this process and what it starts have for themselves."""
    uid, gid = os.geteuid(), os.getegid()
    # Before Python 3.12 os has no unshare.
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_USERS | _NEW_MOUNTS):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    subprocess.run(["sh", "-c", f"mount --make-rprivate / && {line}"], check=True, timeout=30)


_NEW_USERS, _NEW_MOUNTS = 0x10000000, 0x00020000


def _serve(listener: str = "") -> None:
    from flows.ui.terminal import mute_prefect_console  # noqa: PLC0415 - before Prefect

    os.environ["DO_NOT_TRACK"] = "1"
    mute_prefect_console()
    import flows.cli.run  # noqa: F401, PLC0415
    import tasks.doctor.preflight  # noqa: PLC0415
    import tasks.outputs.findings  # noqa: PLC0415
    import tasks.report.task  # noqa: F401, PLC0415

    if listener and not _fork_like(int(listener)):
        return
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    serve(control, _command_or_shard)


def _fork_like(listener: int) -> bool:
    """Be the mother of such processes; true in each of them."""
    from prefect.context import refresh_global_settings_context  # noqa: PLC0415 - see _serve

    from flows.ui.terminal import mute_prefect_console  # noqa: PLC0415 - see _serve

    fork_server_loop._preload()
    if not fork_for_clients(listener):
        return False
    os.environ["DO_NOT_TRACK"] = "1"
    mute_prefect_console()
    refresh_global_settings_context()
    return True


if __name__ == "__main__":
    _serve(*sys.argv[1:])
