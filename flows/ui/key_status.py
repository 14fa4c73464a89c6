"""News of a run's app_ids while it works: disabled, back again, held, limited, margin raised."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from flows.ui.events import key_disabled, key_held, limit_lowered, margin_raised
from flows.ui.run_log import Log
from flows.ui.status import QUOTA_WAIT
from tasks.core.run import Run
from tasks.core.text_safety import ellipsize, visible
from tasks.core.upstream_facts import HoldFacts
from tasks.upstream.calls.suspects import held_models
from tasks.upstream.quota.key_status import KeyStatus, QuotaStatus, read_quota_status

__all__ = ["KeyStatusWatch", "wait_words"]


_LONG = 60.0
"""Seconds of a hold that are worth a line."""
_SOON = 2.0
"""Seconds to the next send that are no wait worth telling."""
_SAID = 120
"""Characters of the provider's words in the progress line."""


class KeyStatusWatch:
    """The app_ids' status as last reported; one per run, in its parent process, not in each shard."""

    def __init__(self, run: Run, log: Log, clock: Callable[[], float] = time.time) -> None:
        self._run = run
        self._log = log
        self._clock = clock
        self._known: dict[str, KeyStatus] = {}
        self.status = QuotaStatus()
        """As last read."""
        self._models: tuple[KeyStatus, ...] = ()
        """Holds of one model only, as if each were an app_id of its own."""
        self.met: list[HoldFacts] = []
        """Holds of more than a minute and lowered limits, as they came."""

    def look(self, _: object = None) -> None:
        """Tell what is new since the last look. Cheap, and never raises for the ledger."""
        self.take(read_quota_status(self._run.ledger, self._run.run_id))

    def take(self, status: QuotaStatus) -> None:
        """Tell what is new in a status."""
        settings = self._run.settings
        ours = {*settings.app_ids, *(quota.alias for quota in settings.quotas)}
        keys = tuple(one for one in status.keys if one.alias in ours)
        self._models = tuple(
            KeyStatus(f"{one.alias} ({one.model})", held_until=one.until, hold_said=one.said)
            for one in held_models(status.notes, self._run.run_id)
            if one.alias in ours
        )
        for one in (*keys, *self._models):
            self._tell(one, self._known.get(one.alias, KeyStatus(one.alias)))
            self._known[one.alias] = one
        self.status = QuotaStatus(keys, status.next_send)

    def holds(self) -> Mapping[str, float]:
        """Seconds for which app_ids are held from now on, by alias; those out for the run: infinite."""
        now = self._clock()
        held = {one.alias: one.held_until - now for one in self.status.keys if one.held_until > now}
        out = [one.alias for one in self.status.keys if one.reason is not None and not one.paused]
        return held | dict.fromkeys(out, float("inf"))

    def words(self) -> str:
        """What the run waits for now, for the progress line; empty: nothing worth telling."""
        waits = QuotaStatus((*self.status.keys, *self._models), self.status.next_send)
        return wait_words(waits, self._clock())

    def _tell(self, now: KeyStatus, before: KeyStatus) -> None:
        if now.reason is not None and now.reason != before.reason:
            self._log.warning("app_id %s is out of rotation: %s", now.alias, visible(now.reason))
            key_disabled(self._run.run_id, now.alias, now.reason)
        if now.reason is None and before.reason is not None:
            self._log.info("app_id %s is back in rotation", now.alias)
        if now.held_until > max(before.held_until, self._clock()) + _LONG:
            self._tell_hold(now)
        if now.server_limit is not None and now.server_limit != before.server_limit:
            self._tell_limit(now.alias, now.server_limit)
        if now.margin > before.margin:
            self._log.warning("app_id %s: margin raised to %.2f s", now.alias, now.margin)
            margin_raised(self._run.run_id, now.alias, now.margin)

    def _tell_hold(self, now: KeyStatus) -> None:
        until = datetime.fromtimestamp(now.held_until, UTC)
        said = f": {visible(now.hold_said)}" if now.hold_said else ""
        self._log.warning(
            "app_id %s is held by its provider until %s%s",
            *(now.alias, f"{until.astimezone():%Y-%m-%d %H:%M:%S}", said),
        )
        self._met(now.alias, until.isoformat(timespec="seconds"), now.hold_said)
        key_held(self._run.run_id, now.alias, until, now.hold_said)

    def _tell_limit(self, alias: str, limit: int) -> None:
        said = f"its provider allows {limit:,} requests in the first window, fewer than quota"
        self._log.warning("app_id %s: %s", alias, said)
        self._met(alias, None, said)
        limit_lowered(self._run.run_id, alias, limit)

    def _met(self, alias: str, until: str | None, said: str) -> None:
        seen = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        self.met.append({"app_id": alias, "seen": seen, "until": until, "said": said})


def wait_words(status: QuotaStatus, now: float) -> str:
    """`team-a held until 19:40: <the provider's words>`, or when the next request is sent."""
    parts = []
    held = [one for one in status.keys if one.held_until > now + _LONG]
    if held:
        last = max(held, key=lambda one: one.held_until)
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        said = f": {ellipsize(visible(last.hold_said), _SAID)}" if last.hold_said else ""
        parts.append(f"{last.alias}{more} held until {_clock_time(last.held_until, now)}{said}")
    if status.next_send is not None and status.next_send > now + _SOON:
        parts.insert(0, f"{QUOTA_WAIT}next send {_clock_time(status.next_send, now)}")
    return "; ".join(parts)


def _clock_time(instant: float, now: float) -> str:
    """The local time; with its day, if that is not today."""
    when, today = (datetime.fromtimestamp(one).astimezone() for one in (instant, now))
    return f"{when:%H:%M:%S}" if when.date() == today.date() else f"{when:%a %H:%M}"
