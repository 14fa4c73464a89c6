"""
The budget of a run and of a day: asked before a call is sent, told what it cost.

    await_room   waits while only calls under way stand in the way; raises where nothing is left
    reserve      books the estimate before the call is sent, for all processes at once
    settle       replaces it by what the reply's usage says

What is settled and reserved never exceeds a cap, so a cap is overrun by no more than what calls in
flight cost beyond their estimates. Those of a process that was killed count as estimated.
"""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tasks.core.budgets import NANOS, BudgetSettings, Cap, amount_text
from tasks.core.calls import Request, Usage, Via
from tasks.core.errors import OverBudget, StateError, Stopped
from tasks.core.prices import Price
from tasks.core.upstream_facts import BudgetRow
from tasks.upstream.quota import Quota
from tasks.upstream.quota.open_store import reading
from tasks.upstream.quota.spending import (
    Account,
    Amount,
    hold,
    note_reached,
    read_accounts,
    settle,
)
from tasks.upstream.quota.transaction import Transaction

__all__ = ["Budget", "CapUse", "Spend", "read_budget"]

_LOOK = 0.25
"""Seconds between two looks at an account that is full of calls under way."""


@dataclass(frozen=True, slots=True)
class Spend:
    """One reservation; `identity` is empty where nothing is bounded."""

    identity: str
    estimate: Amount


_UNBOUNDED = Spend("", Amount())


@dataclass(frozen=True, slots=True)
class CapUse:
    """A cap and what is spent of it, calls under way included as estimated."""

    cap: Cap
    spent: int
    reached: bool = False
    """Whether it was the first to keep a call of the run back."""

    @property
    def share(self) -> float:
        """0 to 1, or more where calls cost more than estimated."""
        return self.spent / self.cap.limit

    def sentence(self) -> str:
        """`budget.usd: $12.30 of $20.00`."""
        unit = self.cap.unit
        return f"{self.cap.name}: {amount_text(unit, self.spent)} of {amount_text(unit, self.cap.limit)}"

    def row(self) -> BudgetRow:
        """The use as manifest.json has it."""
        unit = NANOS if self.cap.unit == "nanos" else 1
        return {
            "cap": self.cap.name,
            "limit": self.cap.limit / unit,
            "spent": round(self.spent / unit, 6),
            "share": round(self.share, 4),
            "reached": self.reached,
        }


class Budget:
    """The budget as a process's callers meet it; threads share one object. Without caps it does nothing."""

    def __init__(
        self,
        quota: Quota,
        settings: BudgetSettings,
        prices: Mapping[str, Price],
        stop: threading.Event,
    ) -> None:
        self._quota = quota
        self._caps = settings.caps
        self._prices = prices
        self._stop = stop
        self._seen: dict[str, Account] = {}
        """Accounts as of this process's last transaction on them."""
        self._told = False

    def await_room(self, request: Request) -> None:
        """Return when a call seems to have room.

        Raises:
            OverBudget: it has none, and will have none when the calls under way are over.
            Stopped: the stop event was set.
        """
        if not self._caps:
            return
        estimate = self._estimate(request)
        while (full := self._full(estimate)) is not None:
            if self._account(full).spent.of(full.unit) + estimate.of(full.unit) > full.limit:
                self._refuse(full)
            self._stop.wait(_LOOK)
            if self._stop.is_set():
                msg = "the run is being stopped: the call is left for the next run"
                raise Stopped(msg)
            self._quota.in_ledger(self._look)

    def reserve(self, request: Request) -> Spend | None:
        """Book the estimate of a call; None: others have taken the room meanwhile.

        Raises:
            Stopped, StateError: it is not known whether there is room.
        """
        if not self._caps:
            return _UNBOUNDED
        spend = Spend(uuid.uuid4().hex, self._estimate(request))
        return spend if self._book(spend.identity, spend.estimate) else None

    def reserve_batch(self, identity: str, model: str, calls: int, usage: Usage) -> bool:
        """Book a batch of so many calls and tokens, as estimated; False: there is no room for all of it.

        Raises:
            Stopped, StateError: it is not known whether there is room.
        """
        estimate = self._batch_cost(model, calls, usage)
        return not self._caps or self._book(identity, estimate)

    def settle_batch(self, identity: str, model: str, calls: int, usage: Usage) -> None:
        """The batch is over; calls and tokens are those that it answered."""
        if self._caps:
            self._end(Spend(identity, Amount()), self._batch_cost(model, calls, usage))

    def settle(
        self, spend: Spend, request: Request, usage: Usage | None, via: Via = "online"
    ) -> None:
        """The call is over; None, or a usage without figures: it counts as estimated."""
        if not spend.identity:
            return
        amount = self._cost(request, usage, spend.estimate, via)
        self._end(spend, amount)

    def settle_unpaid(self, spend: Spend, *, sent: bool) -> None:
        """The call was refused, which costs a call and no tokens; or it never left, if not `sent`."""
        if spend.identity:
            self._end(spend, Amount(calls=int(sent)))

    # -- inside ------------------------------------------------------------------------------

    def _book(self, identity: str, estimate: Amount) -> bool:
        booked: list[bool] = []

        def operation(transaction: Transaction) -> None:
            self._look(transaction)
            booked[:] = [self._full(estimate) is None]
            if booked[0]:
                owner, accounts = transaction.allocator.owner, self._accounts()
                hold(transaction.db, identity, owner, accounts, estimate)
                self._look(transaction)

        self._quota.in_ledger(operation)
        return booked[0]

    def _batch_cost(self, model: str, calls: int, usage: Usage) -> Amount:
        price = self._prices.get(model)
        dollars = (None if price is None else price.cost(usage, "batch")) or 0.0
        tokens = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
        return Amount(nanos=round(dollars * NANOS), tokens=tokens, calls=calls)

    def _accounts(self) -> tuple[str, str]:
        return _accounts(self._quota.run_id)

    def _account(self, cap: Cap) -> Account:
        run, day = self._accounts()
        return self._seen.get(run if cap.period == "run" else day, Account())

    def _full(self, estimate: Amount) -> Cap | None:
        """The first cap that has no room beside what is spent and reserved."""
        for cap in self._caps:
            account, unit = self._account(cap), cap.unit
            if account.spent.of(unit) + account.held.of(unit) + estimate.of(unit) > cap.limit:
                return cap
        return None

    def _look(self, transaction: Transaction) -> None:
        self._seen = read_accounts(transaction.db, self._accounts())

    def _refuse(self, cap: Cap) -> None:
        account = self._account(cap)
        if not self._told:
            self._told = True
            run = self._accounts()[0]
            self._quota.in_ledger(lambda t: note_reached(t.db, run, cap.name), wait=False)
        spent = account.spent.of(cap.unit)
        when = "" if cap.period == "run" else " today (UTC)"
        msg = (
            f"{cap.name} = {amount_text(cap.unit, cap.limit)} has no room for this call: "
            f"{amount_text(cap.unit, spent)} spent{when}. Raise it in review.toml, "
            "or run again: the next run asks only what is missing"
        )
        raise OverBudget(msg)

    def _end(self, spend: Spend, amount: Amount) -> None:
        self._quota.in_ledger(lambda t: settle(t.db, spend.identity, amount), wait=False)

    def _estimate(self, request: Request) -> Amount:
        usage = Usage(request.prompt_tokens, request.expected_tokens)
        return self._cost(request, usage, Amount())

    def _cost(
        self, request: Request, usage: Usage | None, estimate: Amount, via: Via = "online"
    ) -> Amount:
        if usage is None:
            return estimate
        incoming, outgoing, tokens = (
            usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
        )  # fmt: skip
        if tokens is None and incoming is not None and outgoing is not None:
            tokens = incoming + outgoing
        price = self._prices.get(request.model)
        dollars = None if price is None else price.cost(usage, via)
        return Amount(
            nanos=estimate.nanos if dollars is None else round(dollars * NANOS),
            tokens=estimate.tokens if tokens is None else tokens,
            calls=1,
        )


def _accounts(run_id: str) -> tuple[str, str]:
    return f"run {run_id}", f"day {datetime.now(UTC):%Y-%m-%d}"


def read_budget(place: Path | str, run_id: str, settings: BudgetSettings) -> tuple[CapUse, ...]:
    """What is spent of each cap, read beside the processes that spend; empty where nobody can say."""
    caps = settings.caps
    if not caps:
        return ()
    run, day = _accounts(run_id)
    try:
        with reading(place) as db:
            found = read_accounts(db, (run, day))
    except (sqlite3.Error, StateError):
        return ()
    return tuple(_use(cap, found[run if cap.period == "run" else day], found[run]) for cap in caps)


def _use(cap: Cap, account: Account, run: Account) -> CapUse:
    spent = account.spent.of(cap.unit) + account.held.of(cap.unit)
    return CapUse(cap, spent, run.reached == cap.name)
