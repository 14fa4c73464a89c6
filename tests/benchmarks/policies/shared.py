"""Policies that more than one process can share: Prefect's rate_limit and ours."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from policies.base import Policy, Pool

from tasks.core.quotas import AppId, Window
from tasks.upstream.quota import Grant, Quota, SignalKind, read_signal

__all__ = ["Ours", "PrefectRateLimit"]


class Ours(Policy):
    """tasks.upstream.quota: a ledger of reserved instants."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        app_ids = [
            AppId(alias, windows=(Window(pool.limit, pool.seconds),)) for alias in pool.aliases
        ]
        path = pool.folder / "ledger.sqlite"
        self.quota = Quota(path, app_ids, margin=pool.margin, run_id="benchmark")

    def acquire(self) -> Grant:
        return self.quota.acquire("m")

    def alias_of(self, ticket: Grant) -> str:
        return ticket.app_id

    def sent(self, ticket: Grant, at: float) -> None:
        self.quota.sent(ticket, at)

    def done(self, ticket: Grant, status: int, headers: Mapping[str, str]) -> None:
        kind: SignalKind = "rate_limited" if status == HTTPStatus.TOO_MANY_REQUESTS else "ok"
        signal = read_signal(headers, now_epoch=time.time(), kind=kind)
        self.quota.feedback(ticket, signal)
        self.quota.settle(ticket)

    def close(self) -> None:
        self.quota.close()


class PrefectRateLimit(Policy):
    """prefect.concurrency.sync.rate_limit on one decaying limit per key, keys in rotation."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        from prefect.client.orchestration import get_client  # noqa: PLC0415 - seconds to import
        from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate  # noqa: PLC0415

        self.names = itertools.cycle(pool.aliases)
        with get_client(sync_client=True) as client:
            for alias in pool.aliases:
                wanted = GlobalConcurrencyLimitCreate(
                    name=f"bench-{alias}",
                    limit=pool.limit,
                    slot_decay_per_second=pool.limit / pool.seconds,
                )
                client.create_global_concurrency_limit(wanted)

    def acquire(self) -> Any:
        from prefect.concurrency.sync import rate_limit  # noqa: PLC0415 - seconds to import

        with self.lock:
            alias = next(self.names)
        rate_limit(f"bench-{alias}", occupy=1)
        return alias
