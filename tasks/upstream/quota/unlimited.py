"""App_ids without any limit: a send of theirs needs no transaction, only a count."""

from __future__ import annotations

import threading
from collections.abc import Collection

from tasks.upstream.quota import clock
from tasks.upstream.quota.key_log import KeyLog
from tasks.upstream.quota.ledger_thread import LedgerThread

__all__ = ["UnlimitedKeys"]


class UnlimitedKeys:
    """Takes turns among the app_ids of a ledger thread that have no limit."""

    def __init__(self, thread: LedgerThread) -> None:
        self._thread = thread
        self._lock = threading.Lock()

    def take(self, model: str, avoid: Collection[str], never: Collection[str]) -> KeyLog | None:
        """An app_id that may send to `model` now, counted as sent, the least used one; None: there is none."""
        now = clock.now()
        key_logs = [
            key_log
            for key_log in self._thread.allocator.key_logs.values()
            if key_log.is_free(model, now) and key_log.app_id.alias not in never
        ]
        if not key_logs:
            return None
        with self._lock:
            key_log = min(
                key_logs, key=lambda key_log: (key_log.app_id.alias in avoid, key_log.sends)
            )
            key_log.sends += 1
        self._thread.counters.sent(key_log.app_id.alias)
        return key_log
