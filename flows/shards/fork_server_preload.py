"""The modules that the fork server imports before it forks the first shard."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import warnings
from contextlib import suppress
from functools import partial
from multiprocessing import forkserver
from pathlib import Path

# Signals to the whole group are for the shards; the fork server leaves when the run has left. Set before
# the imports, which take seconds, and taken back as a shard is forked, which may be told at once.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
# Ignored already where a shell has put the run into the background: its shards are to ignore it too.
_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)

# The command's own module too: each new process runs its body, for what it may have to unpickle.
import flows.bulk_review  # noqa: E402
import flows.review_shard  # noqa: E402
import flows.shards.process  # noqa: E402, F401


def _tidy(fork_server: int) -> None:
    """Remove the socket and its folder, which a run that was killed has left."""
    address = forkserver._forkserver._forkserver_address  # type: ignore[attr-defined]  # noqa: SLF001
    if os.getpid() == fork_server and address:
        with suppress(OSError, ValueError):
            Path(address).unlink()
            Path(address).parent.rmdir()


os.register_at_fork(after_in_child=partial(signal.signal, signal.SIGTERM, signal.SIG_DFL))
# The fork server ignores it from here on by itself, and gives its shards what is set here.
signal.signal(signal.SIGINT, _interrupt)
atexit.register(_tidy, os.getpid())
# What the body of the command's module, which each process runs, makes runpy say to the terminal.
warnings.filterwarnings(
    "ignore", message=".*found in sys.modules after import", category=RuntimeWarning
)
# No collection writes to the pages that the shards share.
gc.freeze()
