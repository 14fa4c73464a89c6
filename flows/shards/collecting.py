"""The collecting pass of every shard, each in a process of this machine; it makes no call and needs no key."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from flows.shards import fork_server
from flows.shards.exit_report import read_exit_report, reserve_exit_report, write_exit_report
from flows.shards.fork_server import ShardProcess
from flows.shards.process import end_process
from tasks.core.errors import OutputError, StateError
from tasks.core.paths import ShardPaths
from tasks.infer.collect import collect_questions

__all__ = ["collect"]

_STARTS = 3
_GLANCE = 0.1


def collect(
    shards: Sequence[ShardPaths], processes: int, look: Callable[[], None], log: Any
) -> list[Path]:
    """Have each shard's questions written; returns the files.

    A process that dies is started again; a shard that cannot be collected has its questions asked
    online. `look` is called all the while; what it raises ends the processes and leaves.

    Raises:
        StateError, OutputError: what a shard met would stop the run as well.
    """
    waiting, starts = list(shards), dict.fromkeys((one.root for one in shards), 0)
    at_work: dict[Path, tuple[ShardPaths, ShardProcess]] = {}
    try:
        while waiting or at_work:
            look()
            while waiting and len(at_work) < processes:
                shard = waiting.pop(0)
                starts[shard.root] += 1
                at_work[shard.root] = shard, _start(shard)
            next(iter(at_work.values()))[1].join(_GLANCE)
            for root in [root for root, (_, one) in at_work.items() if not one.is_alive()]:
                shard, process = at_work.pop(root)
                if process.exitcode == 0 or not _raise_lasting(shard):
                    again = process.exitcode != 0 and starts[root] < _STARTS
                    waiting += [shard] if again else []
    finally:
        for _, process in at_work.values():
            end_process(process)
    lost = [one.root.name for one in shards if not one.collected.exists()]
    if lost:
        log.warning("no questions could be collected from %s: they go online", ", ".join(lost))
    return [one.questions for one in shards if one.collected.exists()]


def _start(shard: ShardPaths) -> ShardProcess:
    shard.collected.unlink(missing_ok=True)
    reserve_exit_report(shard)
    return fork_server.start(partial(_collect, str(shard.root)), dict(os.environ))


def _collect(root: str) -> None:
    # Ctrl-C goes to the whole group, and the run ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    shard = ShardPaths(Path(root))
    try:
        collect_questions(shard)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run has to hear of it
        with suppress(OSError):
            write_exit_report(shard, error)
        sys.exit(1)


def _raise_lasting(shard: ShardPaths) -> bool:
    """Raise what starting again does not mend; False: there is nothing like it."""
    words = read_exit_report(shard)
    if words is None or not words.lasting:
        return False
    kind = OutputError if words.code == OutputError.code else StateError
    raise kind(words.message, code=words.code)
