"""What a run has learnt of its endpoints, read beside the processes that learn it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.core.quotas import AppId
from tasks.upstream.calls.adaptations import adaptation_at
from tasks.upstream.calls.refusal_breaker import Place, closed_at
from tasks.upstream.quota.key_status import read_notes

__all__ = ["EndpointStatus", "read_endpoint_status"]


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """Models that are closed, and requests that are sent otherwise, by endpoint and model."""

    closed: Mapping[Place, str]
    """The provider's last words."""
    adapted: Mapping[Place, str]
    """What is sent otherwise, as a sentence."""


def read_endpoint_status(
    ledger: Path | str, run_id: str, pool: Iterable[AppId], models: Iterable[str]
) -> EndpointStatus:
    """The status of all models of a run so far; an empty one when the ledger is busy."""
    notes, wanted = read_notes(ledger), tuple(models)
    places = [(app.base_url, model) for app in pool for model in wanted if app.serves(model)]
    closed = {place: closed_at(place, notes, run_id) for place in places}
    adapted = {place: adaptation_at(place, notes).describe() for place in places}
    return EndpointStatus(
        {place: said for place, said in closed.items() if said is not None},
        {place: said for place, said in adapted.items() if said},
    )
