"""
The app_ids behind each quota: those of a group share one, and take turns.

The ledger knows quotas, by name: a group's, or the alias of an app_id that has its own. Of the app_ids
in a group it has a record each as well, which serves nothing and says only whether the key is out.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from tasks.core.quotas import AppId, shared_quotas
from tasks.upstream.quota.key_log import KeyLog
from tasks.upstream.quota.transaction import Transaction, change_control

__all__ = ["QuotaGroups", "follow_members"]

_ALL_OUT = "every key of it is out, "


class QuotaGroups:
    """The quotas of a pool and their members. Thread-safe."""

    def __init__(self, pool: Iterable[AppId]) -> None:
        app_ids = tuple(pool)
        self.quotas = shared_quotas(app_ids)
        self._names = {app_id.alias: app_id.quota_name for app_id in app_ids}
        self._members: dict[str, list[AppId]] = {}
        for app_id in app_ids:
            if app_id.alias != app_id.quota_name:
                self._members.setdefault(app_id.quota_name, []).append(app_id)
        self._grouped = [one.alias for members in self._members.values() for one in members]
        self._turns: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def records(self) -> tuple[AppId, ...]:
        """What the ledger has: the quotas, then the members of groups."""
        return (*self.quotas, *(AppId(alias, models=frozenset()) for alias in self._grouped))

    def name(self, alias: str) -> str:
        """The quota of an app_id."""
        return self._names.get(alias, alias)

    def members(self, name: str) -> tuple[str, ...]:
        """Aliases that share a quota; empty for an app_id that has its own."""
        return tuple(app_id.alias for app_id in self._members.get(name, ()))

    def out(self, key_logs: Mapping[str, KeyLog]) -> dict[str, str]:
        """Members of groups that are out of the run, with the reason."""
        reasons = {alias: key_logs[alias].control.reason for alias in self._grouped}
        return {alias: reason for alias, reason in reasons.items() if reason is not None}

    def closed(self, model: str, aliases: Collection[str]) -> set[str]:
        """The quotas of which every app_id that serves the model is among `aliases`."""
        found = {alias for alias in aliases if self.name(alias) == alias}
        for name, members in self._members.items():
            if all(one.alias in aliases for one in members if one.serves(model)):
                found.add(name)
        return found

    def next(
        self, name: str, model: str, never: Collection[str], avoid: Collection[str]
    ) -> str | None:
        """Whose turn it is in a quota: who was chosen least often; None: nobody may."""
        members = self._members.get(name)
        if members is None:
            return name
        able = [one.alias for one in members if one.serves(model) and one.alias not in never]
        if not able:
            return None
        with self._lock:
            alias = min(able, key=lambda alias: (alias in avoid, self._turns[alias]))
            self._turns[alias] += 1
        return alias


def follow_members(transaction: Transaction, groups: QuotaGroups, name: str) -> None:
    """A group is out when all of its keys are, and back with the first of them."""
    key_logs, members = transaction.allocator.key_logs, groups.members(name)
    if not members:
        return
    reasons = [key_logs[alias].control.reason for alias in members]
    known = key_logs[name].control.reason
    if all(reasons):
        said = "; ".join(f"{a}: {why}" for a, why in zip(members, reasons, strict=True))
        change_control(transaction, name, reason=_ALL_OUT + said, paused=False)
    elif known is not None and known.startswith(_ALL_OUT):
        change_control(transaction, name, reason=None)
