"""
The operators' limits: one Prefect global concurrency limit per app_id, `app-id-<alias>`.

    its number        requests of the app_id's first window; an edit reaches the running job
    inactive          the app_id is out of rotation until it is active again
    its taken slots   what the pool has used of the window, and what others hold, which counts too

Prefect is not asked per call: the ledger enforces, this thread carries news between the two every
few seconds, the operators' edits first. All runs on one state take turns under one lock, so one
writes at a time, and when a run dies the next turn of any other mends what it left.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from flows.ui.concurrency_limits import PREFIX, Limits, open_limits
from flows.ui.limit_slots import Entry, Limit, external_slots, settled, step
from flows.ui.limit_sync_state import LimitSyncState
from tasks.core.quotas import AppId
from tasks.core.run import Run
from tasks.estimate.quota_time import least_despite_holds
from tasks.upstream.quota import Quota

__all__ = ["LimitSync"]

Log = logging.Logger | logging.LoggerAdapter[Any]

_LAST_TRIES = 3


@dataclass(slots=True)
class _Applied:
    """The operators' settings that are in force for one app_id."""

    number: int
    active: bool = True
    external_slots: int = 0


class LimitSync:
    """The thread that follows the limits until the block ends; then our slots are given back.

    Never raises for Prefect: without its API the run goes on with what is known, and says so once.
    `every` is in seconds.

    Raises:
        StateError: the state cannot be used.
    """

    def __init__(self, run: Run, log: Log, *, every: float = 10.0) -> None:
        self._pool = pool = run.settings.pool
        self._margin = run.settings.margin
        self._every = every
        self._log = log
        self._quota = Quota(run.ledger, pool, margin=self._margin, run_id=run.run_id)
        self._state = LimitSyncState(run.state)
        self._windows = {app.alias: app.windows[0] for app in pool if app.windows}
        self._applied = {alias: _Applied(window.limit) for alias, window in self._windows.items()}
        self._begun = False
        self._lost: str | None = None
        """Why the API does not answer; None: it does."""
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.sync()  # the run begins with the operators' numbers
        # The thread needs the Prefect settings of this context.
        target = contextvars.copy_context().run
        self._thread = threading.Thread(
            target=target, args=(self._run,), name="limit-sync", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._leave()
        self._quota.close()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            self.sync()

    def sync(self) -> bool:
        """Carry the news once, both ways; False: the API does not answer."""
        return self._try(self._used)

    def least_seconds(self, calls: int, holds: Mapping[str, float]) -> float:
        """Seconds that so many calls take at best under numbers and holds in force now."""
        return least_despite_holds(self._in_force(), self._margin, calls, holds)

    def _in_force(self) -> list[AppId]:
        pool = []
        for app in self._pool:
            applied = self._applied.get(app.alias)
            if applied is None:
                pool.append(app)
            elif applied.active and applied.number > applied.external_slots:
                first = replace(app.windows[0], limit=applied.number - applied.external_slots)
                pool.append(replace(app, windows=(first, *app.windows[1:])))
        return pool

    def _used(self) -> dict[str, int]:
        return {state.alias: state.used for state in self._quota.snapshot()}

    def _nothing(self) -> dict[str, int]:
        return dict.fromkeys(self._windows, 0)

    def _leave(self) -> None:
        """The last run on this state gives its slots back."""
        if self._state.leave() and self._lost is None:
            # SQLite behind Prefect refuses a write now and then.
            any(self._try(self._nothing) and not self._shown() for _ in range(_LAST_TRIES))
        self._state.close()

    def _shown(self) -> bool:
        return any(entry.shown or entry.delta for entry in self._state.entries.values())

    def _try(self, used: Callable[[], Mapping[str, int]]) -> bool:
        try:
            with self._state, open_limits() as limits:
                self._sync(limits, used())
        except Exception as error:  # noqa: BLE001 - whatever Prefect does must not cost the run
            self._say_lost(type(error).__name__)
            return False
        if self._lost is not None:
            self._lost = None
            self._log.info("Prefect's API answers again: its limits hold")
        return True

    def _say_lost(self, reason: str) -> None:
        if self._lost is None:
            held = "stay as last read" if self._begun else "are those of review.toml"
            self._log.warning("Prefect's API does not answer (%s): quotas %s", reason, held)
        self._lost = reason

    def _sync(self, limits: Limits, used: Mapping[str, int]) -> None:
        found = self._complete(limits, limits.read(self._windows))
        for alias, read in found.items():
            entry = settled(self._state.entry(read.id), read)
            number = read.number if self._begun else self._renew(limits, entry, read)
            limit = found[alias] = replace(read, number=number)
            ours = None if entry.written is None else number
            self._state.entries[read.id] = replace(entry, written=ours)
            self._follow(limit, external_slots(entry, limit))
        self._begun = True
        self._show(limits, found.values(), used)

    def _complete(self, limits: Limits, found: dict[str, Limit]) -> dict[str, Limit]:
        """Create what is missing; what is there is left as it is."""
        missing = self._windows.keys() - found.keys()
        if not missing:
            return found
        for alias in sorted(missing):
            limits.create(alias, self._windows[alias].limit)
        found = limits.read(self._windows)
        for alias in missing & found.keys():
            written = self._windows[alias].limit
            self._state.entries[found[alias].id] = Entry(written=written)
        return found

    def _renew(self, limits: Limits, entry: Entry, limit: Limit) -> int:
        """The number to use: one that nobody edited since we wrote it follows review.toml."""
        wanted = self._windows[limit.alias].limit
        if entry.written is None or limit.number == wanted:
            return limit.number
        limits.renumber(limit.alias, wanted)
        return wanted

    def _follow(self, limit: Limit, external: int) -> None:
        applied, alias = self._applied[limit.alias], limit.alias
        if limit.number != applied.number:
            configured = self._windows[alias].limit
            self._quota.set_limit(alias, None if limit.number == configured else limit.number)
            self._say_number(limit, configured)
            applied.number = limit.number
        if limit.active != applied.active:
            self._switch(limit)
            applied.active = limit.active
        if external != applied.external_slots:
            self._quota.set_external_slots(alias, external)
            self._log.info("app_id %s: others hold %d of %d slots", alias, external, limit.number)
            applied.external_slots = external

    def _say_number(self, limit: Limit, configured: int) -> None:
        number, name = limit.number, PREFIX + limit.alias
        if number == configured:
            self._log.info("app_id %s: %d requests again, as in review.toml", limit.alias, number)
            return
        self._log.warning(
            "app_id %s: %d requests, the limit %s, and not the %d of review.toml: an operator's "
            "number wins; `prefect gcl update %s --limit %d` takes review.toml's",
            *(limit.alias, number, name, configured, name, configured),
        )

    def _switch(self, limit: Limit) -> None:
        if limit.active:
            self._quota.enable(limit.alias)
            self._log.info("app_id %s: back in rotation", limit.alias)
        else:
            self._quota.disable(limit.alias, f"{PREFIX}{limit.alias} is inactive", pause=True)
            self._log.warning(
                "app_id %s: out of rotation, %s%s is inactive", limit.alias, PREFIX, limit.alias
            )

    def _show(self, limits: Limits, found: Iterable[Limit], used: Mapping[str, int]) -> None:
        groups: dict[tuple[int, float], list[Limit]] = defaultdict(list)
        entries = self._state.entries
        for limit in found:
            entry = entries[limit.id]
            delta = step(entry, limit, used.get(limit.alias, entry.shown))
            if delta:
                entries[limit.id] = replace(entry, delta=delta, before=limit.slots)
                groups[delta, self._windows[limit.alias].seconds].append(limit)
        self._state.save()
        answered: list[Limit] = []
        # Refused, or unknown whether it arrived: the next sync sees what became of it. Nothing more is
        # written then, for a server that only reads must not keep us from the operators' edits.
        with suppress(Exception):
            for (delta, seconds), group in groups.items():
                if limits.add([limit.alias for limit in group], delta, seconds):
                    answered += group
        if answered:
            self._confirm(limits, answered)

    def _confirm(self, limits: Limits, answered: Iterable[Limit]) -> None:
        """Record changes as made, except on limits that have become inactive.

        Prefect answers a change of an inactive limit as if it were made, and ignores it. Recorded as
        made, slots of ours would pass for external ones and lower the quota from then on. So it stays
        under way, and its slots tell the next sync.
        """
        with suppress(Exception):
            found = limits.read(self._windows)
            for limit in answered:
                entry, now = self._state.entries[limit.id], found.get(limit.alias)
                if now is not None and now.id == limit.id and now.active:
                    made = replace(entry, shown=entry.shown + entry.delta, delta=0, before=0)
                    self._state.entries[limit.id] = made
