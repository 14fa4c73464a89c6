"""The loop of the fork server: it imports what a shard needs, then forks whenever it is asked.

    control   a socket: each message is one channel, a socket too, for one process
    channel   down: what to do, by pickle, for the process; up: its pid, then its exit code
    lifeline  a pipe that only the fork server can write to: its end tells the shards to leave

The fork server leaves when the control socket is closed, as the kernel does with a killed run.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from flows.shards.fork_server import EarlyCall, Question, import_flow_parts
from flows.shards.watchdog import exit_with_lifeline
from tasks.core.imports import quick_imports

__all__ = ["live", "serve"]


def live(lifeline: int, channel: socket.socket) -> None:
    """The life of a forked process: it does what the channel tells, and leaves with the lifeline."""
    _name_process("review-shard")
    exit_with_lifeline(lifeline)
    with channel, channel.makefile("rb") as asked:
        call, environment, folder = pickle.load(asked)  # noqa: S301 - from the run itself
        # The fork server may be older than what has been exported since.
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        if isinstance(call, Question):
            channel.sendall(call.answer())
            return
        if isinstance(call, EarlyCall):
            if answer := call.function(partial(pickle.load, asked)):
                channel.sendall(answer)
            return
    call()


def serve(control: socket.socket, life: Callable[[int, socket.socket], None] = live) -> None:
    """Fork for whoever asks at the other end of `control`; ends the process once that is closed.

    `life` is what a forked process does with the lifeline and its channel.
    """
    _ignore_signals()
    _name_process("fork-server")
    _preload()
    lifeline, own_end = os.pipe()
    children: dict[int, tuple[BaseProcess, socket.socket]] = {}
    while True:
        for ready in connection.wait([control, *children]):
            if isinstance(ready, int):
                _tell_exit(*children.pop(ready))
                continue
            channel = _next_channel(control)
            if channel is None:
                # An interpreter that ends waits for its children, which may wait for the lifeline.
                os._exit(0)
            others = [one for _, one in children.values()]
            given = (life, [control, *others], own_end, lifeline, channel)
            process = get_context("fork").Process(target=_begin, args=given)
            process.start()
            _tell(channel, process.pid or 0)
            children[process.sentinel] = process, channel


def _ignore_signals() -> None:
    """Signals to the whole group are for the shards; the fork server leaves when the run has left.

    Ignored before the imports, which take seconds, and taken back as a shard is forked, which may be
    told to stop at once.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Ignored already where a shell has put the run into the background: its shards are to ignore it too.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})

    def take_back() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, interrupt)

    os.register_at_fork(after_in_child=take_back)


def _preload() -> None:
    with quick_imports():
        import flows.bulk_review  # noqa: PLC0415
        import flows.review_shard  # noqa: PLC0415
        import flows.shards.process  # noqa: F401, PLC0415
        from tasks.review.inputs.encodings import encoder_for  # noqa: PLC0415

        import_flow_parts()
    # Half a second of CPU and 40 MB, which each shard would take for itself.
    encoder_for("")
    # No collection writes to the pages that the shards share.
    gc.freeze()


def _next_channel(control: socket.socket) -> socket.socket | None:
    try:
        _, fds, _, _ = socket.recv_fds(control, 1, 1)
    except ConnectionResetError:
        return None
    return socket.socket(fileno=fds[0]) if fds else None


def _tell_exit(process: BaseProcess, channel: socket.socket) -> None:
    process.join()
    _tell(channel, process.exitcode or 0)
    channel.close()
    process.close()


def _tell(channel: socket.socket, number: int) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):
        channel.sendall(number.to_bytes(8, "little", signed=True))


def _begin(
    life: Callable[[int, socket.socket], None],
    sockets: Iterable[socket.socket],
    own_end: int,
    *given: Any,
) -> None:
    """Close what is the fork server's, or another process's, and live: who waits for its end sees it."""
    for one in sockets:
        one.close()
    os.close(own_end)
    life(*given)


def _name_process(name: str) -> None:
    """What `ps` shows beside the command line, which is the run's own."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)


if __name__ == "__main__":
    _control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    serve(_control)
