"""Prefect's news of a run's app_ids while it works: disabled, back again, margin raised."""

from __future__ import annotations

import time
from datetime import datetime

from flows.ui.events import key_disabled, margin_raised
from flows.ui.run_log import Log
from tasks.core.run import Run
from tasks.upstream.quota.key_status import KeyStatus, read_key_status

__all__ = ["KeyStatusWatch"]


_LONG = 60.0
"""Seconds of a hold that are worth a line."""


class KeyStatusWatch:
    """The app_ids' status as last reported; one per run, in its parent process, not in each shard."""

    def __init__(self, run: Run, log: Log) -> None:
        self._run = run
        self._log = log
        self._known: dict[str, KeyStatus] = {}

    def look(self, _: object = None) -> None:
        """Tell what is new since the last look. Cheap, and never raises for the ledger."""
        settings = self._run.settings
        ours = {*settings.app_ids, *(quota.alias for quota in settings.quotas)}
        for status in read_key_status(self._run.ledger, self._run.run_id):
            if status.alias not in ours:
                continue
            self._tell(status, self._known.get(status.alias, KeyStatus(status.alias)))
            self._known[status.alias] = status

    def _tell(self, now: KeyStatus, before: KeyStatus) -> None:
        if now.reason is not None and now.reason != before.reason:
            self._log.warning("app_id %s is out of rotation: %s", now.alias, now.reason)
            key_disabled(self._run.run_id, now.alias, now.reason)
        if now.reason is None and before.reason is not None:
            self._log.info("app_id %s is back in rotation", now.alias)
        if now.held_until > max(before.held_until, time.time() + _LONG):
            until = datetime.fromtimestamp(now.held_until).astimezone()
            self._log.warning("app_id %s is held by its provider until %s", now.alias, until)
        if now.server_limit is not None and now.server_limit != before.server_limit:
            self._log.warning(
                "app_id %s: its provider allows %d requests in the first window, fewer than quota",
                now.alias,
                now.server_limit,
            )
        if now.margin > before.margin:
            self._log.warning("app_id %s: margin raised to %.2f s", now.alias, now.margin)
            margin_raised(self._run.run_id, now.alias, now.margin)
