"""What a run has learnt of its endpoints, read from the ledger by another process than the learner."""

from __future__ import annotations

from pathlib import Path

from tasks.core.quotas import AppId
from tasks.upstream.calls.adaptation import Adaptation
from tasks.upstream.calls.adaptations import Adaptations
from tasks.upstream.calls.endpoint_status import read_endpoint_status
from tasks.upstream.calls.refusal_breaker import RefusalBreakers
from tasks.upstream.calls.refusals import Refusal
from tasks.upstream.quota import Quota

PLACE = ("http://e/v1", "m")
POOL = (AppId("a", base_url=PLACE[0]),)


def test_closed_models_and_adapted_requests_are_read(tmp_path: Path) -> None:
    """With the provider's words; what another run closed is asked again, what it adapted stays."""
    place = tmp_path / "ledger.sqlite"
    refusal = Refusal("parameter", None, "temperature", "no", None, certain=True, status=400)
    with Quota(place, POOL, run_id="one") as quota:
        RefusalBreakers(quota, run_id="one").close(PLACE, "HTTP 404: no such model")
        body = {"model": "m", "messages": [], "temperature": 0}
        assert Adaptations(quota).learn(PLACE, body, Adaptation(), refusal)
        quota.snapshot()
        found = read_endpoint_status(place, "one", POOL, ["m", "other"])
        later = read_endpoint_status(place, "two", POOL, ["m"])
    assert found.closed == {PLACE: "HTTP 404: no such model"}
    assert found.adapted == {PLACE: "temperature left out: the endpoint refuses it"}
    assert (later.closed, later.adapted) == ({}, found.adapted)
    assert read_endpoint_status(tmp_path / "none", "one", POOL, ["m"]).closed == {}
