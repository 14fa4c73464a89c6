"""
The operators' limits: one Prefect global concurrency limit per app_id, `app-id-<alias>`; where another
state on the same server has that name, `app-id-<alias>-<six characters of this state's identity>`.

    its number        requests of the app_id's first window; an edit reaches the running job
    inactive          the app_id is out of rotation until it is active again
    its taken slots   what the pool has used of the window, and what others hold, which counts too

A number is an operator's once somebody has edited it, and it is for the window that it was written
for: a run with another window goes by its own review.toml. No run writes a number while another one
lives on the state, whose calls it would reach.

Prefect is not asked per call: the ledger enforces, this thread carries news between the two every
few seconds, the operators' edits first. All runs on one state take turns under one lock, so one
writes at a time, and when a run dies the next turn of any other mends what it left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from flows.ui.concurrency_limits import PREFIX, Limits, open_limits
from flows.ui.limit_slots import Entry, Limit, external_slots, settled, step
from flows.ui.limit_sync_state import LimitSyncState
from flows.ui.run_log import Log
from tasks.core.errors import OutputError, ReviewError, StateError
from tasks.core.periodic import PeriodicTask
from tasks.core.quotas import AppId
from tasks.core.run import Run
from tasks.estimate.quota_time import least_despite_holds
from tasks.upstream.quota import Quota

__all__ = ["LimitSync"]


_LAST_TRIES = 3


@dataclass(slots=True)
class _Applied:
    """The operators' settings that are in force for one app_id."""

    number: int
    active: bool = True
    external_slots: int = 0
    own_window: bool = True
    """The limit is for the window that this run's review.toml has."""


class LimitSync:
    """The thread that follows the limits until the block ends; then our slots are given back.

    Never raises for Prefect: without its API the run goes on with what is known, and says so once.
    `every` is in seconds.

    Raises:
        StateError: the state cannot be used.
    """

    def __init__(self, run: Run, log: Log, *, every: float = 10.0) -> None:
        self._pool = pool = run.settings.quotas
        self._margin = run.settings.margin
        self._log = log
        self._quota = Quota(run.ledger, pool, margin=self._margin, run_id=run.run_id)
        self._state = LimitSyncState(run.state)
        self._windows = {app.alias: app.windows[0] for app in pool if app.windows}
        self._applied = {alias: _Applied(window.limit) for alias, window in self._windows.items()}
        self._begun = False
        self._suffixes: dict[str, str] = {}
        self._lost: str | None = None
        """Why the API does not answer; None: it does."""
        self._unwritten = False
        """Whether the log has said that our own memory of the limits cannot be used."""
        # The thread needs the Prefect settings of this context. Slots are given back after its last turn.
        self._task = PeriodicTask(every, self.sync, "limit-sync", patience=None)

    def __enter__(self) -> Self:
        self.sync()  # the run begins with the operators' numbers
        self._task.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._task.__exit__()
        # A display: a state folder that is gone costs slots that look taken, and not the run.
        try:
            self._leave()
        except (OSError, ReviewError) as error:
            self._log.warning("the slots of the app_ids' limits were not given back: %s", error)
        self._quota.close()

    def sync(self) -> bool:
        """Carry edits and used slots once, both ways; False: the API does not answer."""
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
        """By alias; of another window than the limit's nothing is shown."""
        other = {alias for alias, applied in self._applied.items() if not applied.own_window}
        return {one.alias: one.used for one in self._quota.snapshot() if one.alias not in other}

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
        if not self._windows:
            return True
        try:
            with self._state:
                if not self._begun:
                    self._suffixes = self._find_names()
                with open_limits(self._suffixes) as limits:
                    self._sync(limits, used())
        except (OSError, StateError, OutputError) as error:
            self._say_unwritten(error)
            return False
        except Exception as error:  # noqa: BLE001 - whatever Prefect does must not cost the run
            self._say_lost(type(error).__name__)
            return False
        if self._lost is not None:
            self._lost = None
            self._log.info("Prefect's API answers again: its limits hold")
        return True

    def _say_unwritten(self, error: Exception) -> None:
        if not self._unwritten:
            self._log.warning("the app_ids' limits are not followed for now: %s", error)
        self._unwritten = True

    def _find_names(self) -> dict[str, str]:
        """What ends the names of limits, by alias, where another state has the plain name."""
        with open_limits() as limits:
            others = [
                alias
                for alias, limit in limits.read(self._windows).items()
                if limit.id not in self._state.entries
                and limits.owner(limit.id, self._state.identity) != self._state.identity
            ]
        ending = f"-{self._state.identity[:6]}"
        for alias in others:
            self._log.warning(
                "app_id %s: the limit %s%s is another project's; this one's is %s%s%s. If that project "
                "is gone: prefect gcl delete %s%s",
                *(alias, PREFIX, alias, PREFIX, alias, ending, PREFIX, alias),
            )
        return dict.fromkeys(others, ending)

    def _name(self, alias: str) -> str:
        return f"{PREFIX}{alias}{self._suffixes.get(alias, '')}"

    def _say_lost(self, reason: str) -> None:
        if self._lost is None:
            held = "stay as last read" if self._begun else "are those of review.toml"
            self._log.warning("Prefect's API does not answer (%s): quotas %s", reason, held)
        self._lost = reason

    def _sync(self, limits: Limits, used: Mapping[str, int]) -> None:
        found = self._complete(limits, limits.read(self._windows))
        for alias, read in found.items():
            entry = settled(self._state.entry(read.id), read)
            if not self._begun:
                entry = self._renew(limits, entry, read)
            self._state.entries[read.id] = entry
            number = self._ordered(entry, read)
            # What is free on it is told by the limit's own number, what may be sent by ours.
            found[alias] = replace(read, number=entry.written or read.number)
            self._follow(replace(read, number=number), external_slots(entry, read))
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
            window = self._windows[alias]
            entry = Entry(written=window.limit, seconds=window.seconds)
            self._state.entries[found[alias].id] = entry
            limits.owner(found[alias].id, self._state.identity)
        return found

    def _renew(self, limits: Limits, entry: Entry, limit: Limit) -> Entry:
        """The entry, with review.toml's number on a limit that nobody edited for this window."""
        window = self._windows[limit.alias]
        if entry.seconds is None:
            entry = replace(entry, seconds=window.seconds)
        edited = entry.written is None and entry.seconds == window.seconds
        same = (limit.number, entry.seconds) == (window.limit, window.seconds)
        if edited or same or self._state.others():
            self._applied[limit.alias].own_window = entry.seconds == window.seconds
            self._say_other_window(limit, entry)
            return entry
        limits.renumber(limit.alias, window.limit)
        return replace(entry, written=window.limit, seconds=window.seconds)

    def _say_other_window(self, limit: Limit, entry: Entry) -> None:
        window = self._windows[limit.alias]
        if entry.seconds != window.seconds:
            self._log.warning(
                "app_id %s: the limit %s is for windows of %g s, of another run that goes on; "
                "this run goes by review.toml's %s",
                *(limit.alias, self._name(limit.alias), entry.seconds, window),
            )

    def _ordered(self, entry: Entry, limit: Limit) -> int:
        """Requests of the first window: an operator's number if it is for it, or review.toml's."""
        window = self._windows[limit.alias]
        ordered = entry.written is None and entry.seconds == window.seconds
        return limit.number if ordered else window.limit

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
        number, name = limit.number, self._name(limit.alias)
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
            self._quota.disable(limit.alias, f"{self._name(limit.alias)} is inactive", pause=True)
            self._log.warning(
                "app_id %s: out of rotation, %s is inactive", limit.alias, self._name(limit.alias)
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
