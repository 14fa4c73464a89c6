"""The quota proof of a run, read from the ledger when all shards are done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.core.quotas import AppId
from tasks.core.run import Run
from tasks.core.upstream_facts import QuotaProof, QuotaProofRow
from tasks.upstream.quota import (
    QuotaStatistics,
    QuotaUse,
    WindowUse,
    optimum_seconds,
    read_statistics,
)

__all__ = ["quota_proof"]


def quota_proof(run: Run) -> QuotaProof:
    """The sends of each app_id against its windows, and the run's span against the optimum."""
    pool = run.settings.quotas
    # To read is enough: every process wrote its counts when it left, and to open the ledger for a
    # run that is over would give its disabled keys another chance.
    found = read_statistics(run.ledger, run.run_id, pool, run.settings.margin, patient=True)
    return {
        "kept": found.kept and not found.rate_limited,
        "exceeded": not found.kept,
        "over_tokens": [
            f"{alias} {one.most:,} of {one.limit:,} in {one.seconds:g} s"
            for alias, one in found.over_tokens
        ],
        "raised": list(_raised(found, run.settings.pool)),
        "sends": found.sends,
        "rate_limited": found.rate_limited,
        "span_s": round(found.span, 3),
        "optimum_s": round(optimum_seconds(found.sends, pool), 3),
        "app_ids": _rows(_sorted(found)),
    }


def _raised(found: QuotaStatistics, pool: Sequence[AppId]) -> Iterator[str]:
    """Windows that held more than review.toml says: only an operator may have allowed that."""
    windows = {app.alias: app.windows for app in pool}
    for use in _sorted(found):
        for one, configured in zip(use.windows, windows[use.alias], strict=True):
            if configured.limit < one.most <= one.limit:
                yield f"{use.alias} {one.most} of {configured.limit} in {one.seconds:g} s"


def _sorted(found: QuotaStatistics) -> list[QuotaUse]:
    return sorted(found.app_ids, key=lambda use: use.alias)


def _rows(uses: Sequence[QuotaUse]) -> list[QuotaProofRow]:
    rows = [_row(use) for use in uses]
    if any(use.token_windows for use in uses):
        for row, use in zip(rows, uses, strict=True):
            row["most tokens in a window"] = _most(use.token_windows) or "no limit"
    return rows


def _row(use: QuotaUse) -> QuotaProofRow:
    return {
        "app_id": use.alias,
        "sends": use.sends,
        "429s": use.rate_limited,
        "most in a window": _most(use.windows) or "no limit",
        "slots available": use.slots_available,
        "waited s": round(use.waited, 1),
        "margin s": use.margin,
        "disabled": use.disabled,
    }


def _most(windows: Sequence[WindowUse]) -> str:
    return ", ".join(f"{one.most:,} of {one.limit:,} in {one.seconds:g} s" for one in windows)
