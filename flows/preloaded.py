"""Imported by the nursery, and by nobody else, before it forks the first shard."""

from __future__ import annotations

import gc
import signal

# The command's own module too: each new process runs its body, for what it may have to unpickle.
import flows.bulk_review
import flows.shard_process  # noqa: F401

# Signals to the whole group are for the shards; the nursery leaves when the run has left.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
# No collection writes to the pages that the shards share.
gc.freeze()
