"""Notices while a run works that an app_id was disabled or its margin raised, and tells Prefect."""

from __future__ import annotations

import logging
from typing import Any

from flows.ui.events import key_disabled, margin_raised
from tasks.core.run import Run
from tasks.upstream.quota.key_status import Ruling, read_rulings

__all__ = ["KeyWatch"]

Log = logging.Logger | logging.LoggerAdapter[Any]


class KeyWatch:
    """One per run, in its parent process: shards would each tell the same news."""

    def __init__(self, run: Run, log: Log) -> None:
        self._run = run
        self._log = log
        self._known: dict[str, Ruling] = {}

    def look(self, _: object = None) -> None:
        """Tell what is new since the last look. Cheap, and never raises for the ledger."""
        for ruling in read_rulings(self._run.ledger, self._run.run_id):
            self._tell(ruling, self._known.get(ruling.alias, Ruling(ruling.alias)))
            self._known[ruling.alias] = ruling

    def _tell(self, now: Ruling, before: Ruling) -> None:
        if now.reason is not None and now.reason != before.reason:
            self._log.warning("app_id %s is out of rotation: %s", now.alias, now.reason)
            key_disabled(self._run.run_id, now.alias, now.reason)
        if now.reason is None and before.reason is not None:
            self._log.info("app_id %s is back in rotation", now.alias)
        if now.margin > before.margin:
            self._log.warning("app_id %s: margin raised to %.2f s", now.alias, now.margin)
            margin_raised(self._run.run_id, now.alias, now.margin)
