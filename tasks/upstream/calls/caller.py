"""
The only path to a model: journal, one asker per question, breaker, quota, client, reply, journal.

    with open_caller(app_ids, keys, journal=..., ledger=...) as caller:
        reply = caller.call(Request(...))

A reply is on disk before `call` returns, so a question is paid for once, whatever is killed when.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from tasks.core.budgets import BudgetSettings
from tasks.core.calls import Refused, Reply, Request
from tasks.core.errors import CallFailed, UpstreamError
from tasks.core.prices import Price
from tasks.core.quotas import AppId
from tasks.upstream.budget import Budget
from tasks.upstream.calls.adaptations import Adaptations
from tasks.upstream.calls.attempts import CallAttempts
from tasks.upstream.calls.breaker import Breakers
from tasks.upstream.calls.call_context import CallCounts, CallLimits, LoadObserver, Upstream
from tasks.upstream.calls.client_pool import ClientPool
from tasks.upstream.calls.key_ring import KeyRing
from tasks.upstream.calls.refusal_breaker import RefusalBreakers
from tasks.upstream.calls.scrub import Scrubber, scrubbed_reply
from tasks.upstream.calls.singleflight import SingleFlight
from tasks.upstream.calls.suspects import Suspects
from tasks.upstream.journal import Answers, Journal, open_journal
from tasks.upstream.quota import Quota, Signal

__all__ = ["Caller", "open_caller", "paid_for"]

_CLAIM_POLL = (0.02, 0.25)
"""Seconds between looks at a claim that another process holds: at first and at most."""


class Caller:
    """Calls of one process; threads share one object."""

    def __init__(
        self,
        app_ids: Sequence[AppId],
        quota: Quota,
        pool: ClientPool,
        journal: Journal,
        *,
        limits: CallLimits | None = None,
        breakers: Breakers | None = None,
        scrub: Scrubber | None = None,
        stop: threading.Event | None = None,
        load: LoadObserver | None = None,
        run_id: str = "",
        budget: BudgetSettings | None = None,
        prices: Mapping[str, Price] | None = None,
        refused: Mapping[str, Refused] | None = None,
        give_up_at: float | None = None,
    ) -> None:
        stop = stop or threading.Event()
        self._counts = CallCounts()
        self._run_id = run_id
        self._refused = refused or {}
        self._give_up_at = give_up_at
        self._journal = journal
        self._answers = Answers(journal, app_ids)
        self._flights: SingleFlight[Reply] = SingleFlight()
        self._up = Upstream(
            app_ids={app_id.alias: app_id for app_id in app_ids},
            quota=quota,
            pool=pool,
            breakers=breakers or Breakers(),
            scrub=scrub or Scrubber(),
            limits=limits or CallLimits(),
            counts=self._counts,
            stop=stop,
            refusals=RefusalBreakers(quota, run_id=run_id),
            adaptations=Adaptations(quota),
            suspects=Suspects(quota, run_id),
            budget=Budget(quota, budget or BudgetSettings(), prices or {}, stop),
            load=load,
        )

    @property
    def journal(self) -> Journal:
        """Where replies are."""
        return self._journal

    def call(self, request: Request, *, fresh_since: float | None = None) -> Reply:
        """The reply to a request, from the journal or from a model.

        Journal answers stored before `fresh_since` (seconds since the epoch) are not used. The same
        question asked twice at once, by threads or processes, is sent once.

        Raises:
            CallFailed: it is over; `code` is its reason, nothing is journaled.
            NoKeysLeft, QuotaHeld, OverBudget, CircuitOpen, Stopped: nothing can be sent.
            StateError: journal or ledger cannot be used.
        """
        self._counts.add("calls")
        try:
            reply, shared = self._flights.run(
                request.key,
                lambda: self._ask(request, fresh_since),
                pause=self._up.raise_if_stopped,
            )
        except UpstreamError as error:
            self._counts.add("failed", error.code)
            raise
        self._counts.add("journaled" if shared or reply.journaled else "replies")
        return replace(reply, journaled=True) if shared else reply

    def forget(self, request: Request) -> None:
        """Do not answer this request from the journal again: its reply was of no use."""
        self._answers.forget(request)

    def statistics(self) -> dict[str, Any]:
        """Counts of this process: calls and their failures by reason, connections, outages, adaptations."""
        return {
            "calls": self._counts.summary(),
            "shared": self._flights.shared,
            "clients": self._up.pool.statistics(),
            "breakers": self._up.breakers.statistics(),
            "adapted": self._up.adaptations.describe(),
        }

    def adaptation(self, endpoint: str, model: str) -> str:
        """How requests to a model at an endpoint are adapted, as a sentence; empty: they are not."""
        return self._up.adaptations.at((endpoint, model)).describe()

    def refusal(self, endpoint: str, model: str) -> str:
        """Why requests to a model at an endpoint are refused, in its words; empty: they are not."""
        return self._up.refusals.said((endpoint, model))

    def _ask(self, request: Request, fresh_since: float | None) -> Reply:
        with self._claimed(request.key):
            # Only under the claim: what is not there now, nobody else is about to put there.
            payer = paid_for(self._run_id, request.cell)
            answered = self._answers.get(request, not_before=fresh_since)
            if answered is not None:
                # A second pass, or a shard that starts anew, meets what this run paid for before.
                answered = scrubbed_reply(answered, self._up.scrub)
                return replace(answered, journaled=not payer or answered.paid_for != payer)
            self._raise_if_over(request)
            reply = CallAttempts(self._up, request, payer).run()
            reply = scrubbed_reply(reply, self._up.scrub)
            self._answers.put(request, reply)
            return reply

    def _raise_if_over(self, request: Request) -> None:
        """Leave what a batch of the run was refused for good, and what comes after the last hour."""
        if (said := self._refused.get(request.key)) is not None:
            raise CallFailed(
                said.message,
                code=said.code,
                attempts=1,
                app_id=said.app_id,
                endpoint=said.endpoint,
                batch_id=said.batch_id,
            )
        if self._give_up_at is not None and time.time() >= self._give_up_at:
            msg = "no batch has answered it in time, and give_up of [batch] has passed"
            raise CallFailed(msg, code="batch_late")

    @contextmanager
    def _claimed(self, key: str) -> Iterator[None]:
        pause, most = _CLAIM_POLL
        while not self._journal.claim(key):
            self._up.stop.wait(pause)
            self._up.raise_if_stopped()
            pause = min(pause * 2, most)
        try:
            yield
        finally:
            self._journal.release(key)


def paid_for(run_id: str, cell: str) -> str:
    """What a reply remembers of who paid; empty for a run without an id."""
    if not run_id:
        return ""
    return f"{run_id} {hashlib.sha256(cell.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


@contextmanager
def open_caller(
    app_ids: Sequence[AppId],
    keys: Mapping[str, SecretStr],
    *,
    journal: Path | str,
    ledger: Path | str,
    margin: float = 0.4,
    limits: CallLimits | None = None,
    max_clients: int = 64,
    give_up_after: float = 120.0,
    run_id: str = "",
    stop: threading.Event | None = None,
    load: LoadObserver | None = None,
    longest_wait: float = 1800.0,
    on_signal: Callable[[str, Signal], None] | None = None,
    budget: BudgetSettings | None = None,
    prices: Mapping[str, Price] | None = None,
    refused: Mapping[str, Refused] | None = None,
    give_up_at: float | None = None,
) -> Iterator[Caller]:
    """A Caller with its journal, ledger and clients, closed at the end of the block.

    `keys` by alias; `margin` and `give_up_after` in seconds. `load` hears of every
    reply and overload. Setting `stop` ends waits within a
    second and lets calls in flight finish. An app_id that its provider holds for longer than
    `longest_wait` seconds is not waited for. With a KeyRing, keys that expire are read anew.
    `on_signal` hears the rate-limit headers of replies. `budget` is counted in the ledger, for all
    processes of the run, by `prices`. `refused` are questions that a batch was refused for good, by
    their keys; after `give_up_at` (seconds since the epoch) nothing is sent any more.

    Raises:
        StateError: journal or ledger cannot be used.
    """
    limits, stop = limits or CallLimits(), stop or threading.Event()
    ring = KeyRing.of(keys)
    with ExitStack() as stack:
        pool = ClientPool(
            ring,
            options={app_id.alias: app_id.http for app_id in app_ids},
            max_clients=max_clients,
            timeout=limits.timeout,
            connect_timeout=limits.connect_timeout,
        )
        stack.callback(pool.close)
        store = stack.enter_context(open_journal(journal, patient=True))
        quota = Quota(
            ledger,
            app_ids,
            margin=margin,
            run_id=run_id,
            stop=stop,
            longest_wait=longest_wait,
            on_signal=on_signal,
        )
        stack.callback(quota.close)
        yield Caller(
            app_ids,
            quota,
            pool,
            store,
            limits=limits,
            breakers=Breakers(give_up_after=give_up_after),
            scrub=ring.scrub,
            stop=stop,
            load=load,
            run_id=run_id,
            budget=budget,
            prices=prices,
            refused=refused,
            give_up_at=give_up_at,
        )
