"""
What calls cost, beside the ledger's rows: booked to accounts that all processes share.

    spending   the estimate of each call that may be under way, and whose it is
    spent      by account: what is settled, and the sum of those estimates

An account is a run, or a day (UTC). All of it happens inside the ledger's transactions. What a
process that died had under way is settled at its estimate, once: its provider may have answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.core.budgets import Unit
from tasks.upstream.quota.store import Db

__all__ = [
    "SPENDING_TABLES",
    "Account",
    "Amount",
    "book",
    "forget_runs",
    "hold",
    "note_reached",
    "read_accounts",
    "settle",
    "settle_dead",
]

SPENDING_TABLES = (
    (
        "CREATE TABLE IF NOT EXISTS spent (account TEXT PRIMARY KEY, nanos BIGINT NOT NULL, "
        "tokens BIGINT NOT NULL, calls BIGINT NOT NULL, held_nanos BIGINT NOT NULL, "
        "held_tokens BIGINT NOT NULL, held_calls BIGINT NOT NULL, reached TEXT)"
    ),
    (
        "CREATE TABLE IF NOT EXISTS spending (id TEXT PRIMARY KEY, owner BIGINT NOT NULL, "
        "run TEXT NOT NULL, day TEXT NOT NULL, nanos BIGINT NOT NULL, tokens BIGINT NOT NULL, "
        "calls BIGINT NOT NULL)"
    ),
)
"""Ledgers from before have none."""

_BOOK = (
    "INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (account) DO UPDATE SET "
    "nanos = spent.nanos + excluded.nanos, tokens = spent.tokens + excluded.tokens, "
    "calls = spent.calls + excluded.calls, held_nanos = spent.held_nanos + excluded.held_nanos, "
    "held_tokens = spent.held_tokens + excluded.held_tokens, "
    "held_calls = spent.held_calls + excluded.held_calls"
)
_ACCOUNT = (
    "SELECT nanos, tokens, calls, held_nanos, held_tokens, held_calls, reached "
    "FROM spent WHERE account = ?"
)
_REACHED = "UPDATE spent SET reached = ? WHERE account = ? AND reached IS NULL"
_END = "DELETE FROM spending WHERE {} RETURNING run, day, nanos, tokens, calls"
_DEAD = _END.format("owner = ? OR owner NOT IN (SELECT id FROM owners WHERE alive = 1)")


@dataclass(frozen=True, slots=True)
class Amount:
    """Money in billionths of a US dollar, tokens, calls."""

    nanos: int = 0
    tokens: int = 0
    calls: int = 0

    def of(self, unit: Unit) -> int:
        """The number of one unit."""
        found: int = getattr(self, unit)
        return found

    def minus(self) -> Amount:
        """The amount taken back."""
        return Amount(-self.nanos, -self.tokens, -self.calls)


@dataclass(frozen=True, slots=True)
class Account:
    """What is spent, and what may be by calls under way."""

    spent: Amount = Amount()
    held: Amount = Amount()
    reached: str | None = None
    """Name of the cap that first kept a call back."""


def read_accounts(db: Db, names: Sequence[str]) -> dict[str, Account]:
    """The accounts by name; one of which nothing is known is empty."""
    found = {name: db.execute(_ACCOUNT, (name,)).fetchone() for name in names}
    return {
        name: Account(Amount(*row[:3]), Amount(*row[3:6]), row[6]) if row else Account()
        for name, row in found.items()
    }


def hold(db: Db, identity: str, owner: int, accounts: tuple[str, str], amount: Amount) -> None:
    """Reserve an amount for a call that is about to be sent; accounts: the run's, the day's."""
    figures = (amount.nanos, amount.tokens, amount.calls)
    db.execute(
        "INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?, ?)", (identity, owner, *accounts, *figures)
    )
    book(db, accounts, Amount(), amount)


def settle(db: Db, identity: str, amount: Amount | None) -> None:
    """Replace a reservation by what the call cost; None: by its estimate. At most once."""
    for row in db.execute(_END.format("id = ?"), (identity,)).fetchall():
        held = Amount(*row[2:])
        book(db, row[:2], held if amount is None else amount, held.minus())


def settle_dead(db: Db, owner: int) -> None:
    """Settle what a process that ended, and any other that did, had under way."""
    for row in db.execute(_DEAD, (owner,)).fetchall():
        held = Amount(*row[2:])
        book(db, row[:2], held, held.minus())


def book(db: Db, accounts: Sequence[str], spent: Amount, held: Amount) -> None:
    """Add to accounts."""
    figures = (spent.nanos, spent.tokens, spent.calls, held.nanos, held.tokens, held.calls)
    for account in accounts:
        db.execute(_BOOK, (account, *figures))


def note_reached(db: Db, account: str, cap: str) -> None:
    """Remember the first cap that kept a call of the run back."""
    book(db, (account,), Amount(), Amount())
    db.execute(_REACHED, (cap, account))


def forget_runs(db: Db) -> None:
    """Delete the accounts of runs that the ledger has forgotten."""
    db.execute(
        "DELETE FROM spent WHERE substr(account, 1, 4) = 'run ' AND substr(account, 5) NOT IN "
        "(SELECT run FROM owners)"
    )
