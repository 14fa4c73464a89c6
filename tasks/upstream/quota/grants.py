"""Leave to send, and the grants of a process that somebody still holds."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

from tasks.upstream.quota.ledger_thread import LedgerThread

__all__ = ["Grant", "HeldGrants"]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Grant:
    """Leave to send one request now."""

    app_id: str
    """Alias."""
    ticket: int
    """Id in the ledger; 0 when the app_id has no limit."""
    start_at: float
    """Planned instant, monotonic seconds."""
    waited: float
    """Seconds."""
    tokens: int = 0


class HeldGrants:
    """The grants of a process whose calls are not over."""

    def __init__(self, thread: LedgerThread) -> None:
        self._submit = thread.submit
        self._grants: dict[int, weakref.ref[Grant]] = {}

    def watch(self, grant: Grant) -> Grant:
        """The grant; a caller that fails and forgets it does not block its slot for ever."""
        ticket = grant.ticket

        def dropped(_ref: object) -> None:
            if self._grants.pop(ticket, None) is not None:
                self._submit(
                    lambda transaction: transaction.allocator.end(ticket, None, transaction.now),
                    lazy=True,
                )

        self._grants[ticket] = weakref.ref(grant, dropped)
        return grant

    def end(self, grant: Grant) -> None:
        """Its call is over, and was told to be."""
        self._grants.pop(grant.ticket, None)
