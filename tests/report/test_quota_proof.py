"""What the quota proof says of a run, from a real ledger."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.core.upstream_facts import QuotaProof
from tasks.report.quota_proof import quota_proof
from tasks.report.words import quota_sentence
from tasks.upstream.quota import Quota, Signal

TEXT = """
mode = "check"
[app_ids.a]
key = "env:KEY_A"
base_url = "http://127.0.0.1:9/v1"
quota = "3/60s"
[[check]]
name = "one"
model = "m"
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run("night", load_settings(TEXT), str(tmp_path), threads=1)


def send(run: Run, count: int, *, refused: bool = False, limit: int | None = None) -> None:
    """Send at once, under an operator's limit if there is one; the last one may get a 429."""
    with Quota(run.ledger, run.settings.pool, margin=0.1, run_id=run.run_id) as quota:
        if limit is not None:
            quota.set_limit("a", limit)
        for _ in range(count):
            grant = quota.acquire("m")
            quota.sent(grant)
            quota.settle(grant)
        if refused:
            quota.feedback(grant, Signal("rate_limited"))


def test_a_window_within_its_quota_is_kept(run: Run) -> None:
    """Three of three, and nobody complained."""
    send(run, 3)
    proof = quota_proof(run)
    assert (proof["kept"], proof["exceeded"], proof["raised"]) == (True, False, [])
    assert "of our sends than the limit in force. First" in quota_sentence(proof)


def test_a_429_within_the_quota_is_no_proof(run: Run) -> None:
    """Our own count was right, and still the provider refused: the sentence says what that means."""
    send(run, 2, refused=True)
    proof = quota_proof(run)
    assert (proof["kept"], proof["exceeded"]) == (False, False)
    assert "the provider allows less than `quota` says, or others use" in quota_sentence(proof)


def test_an_operators_higher_limit_is_told(run: Run) -> None:
    """The proof is against the limit in force, and names what review.toml says."""
    send(run, 5, limit=5)
    proof = quota_proof(run)
    assert (proof["kept"], proof["raised"]) == (True, ["a 5 of 3 in 60 s"])
    assert "above review.toml's: a 5 of 3 in 60 s" in quota_sentence(proof)


def test_without_windows_there_is_nothing_to_keep(run: Run) -> None:
    """An app_id without a quota has sends and a span, and neither a window nor a best time."""
    send(run, 2)
    proof = quota_proof(run)
    unlimited = proof | {
        "app_ids": [one | {"most in a window": "no limit"} for one in proof["app_ids"]]
    }
    sentence = quota_sentence(cast("QuotaProof", unlimited))
    assert "2 sends, 0 answered with 429, no app_id has a window of requests" in sentence
    assert "at best" not in sentence
    assert "limit in force" not in sentence


@pytest.mark.parametrize(("used", "over"), [(40, []), (90, ["a 180 of 100 in 60 s"])])
def test_tokens_are_proved_by_what_replies_used(tmp_path: Path, used: int, over: list[str]) -> None:
    """A window of tokens holds what replies told; more than was reserved is said, and not hidden."""
    text = TEXT.replace('quota = "3/60s"', 'quota = "3/60s"\ntokens = "100/60s"')
    run = Run("night", load_settings(text), str(tmp_path), threads=1)
    with Quota(run.ledger, run.settings.pool, margin=0.1, run_id=run.run_id) as quota:
        grants = [quota.acquire("m", tokens=40) for _ in range(2)]
        for grant in grants:
            quota.sent(grant)
            quota.settle(grant, tokens=used)
    proof = quota_proof(run)
    assert (proof["kept"], proof["over_tokens"]) == (True, over)
    assert proof["app_ids"][0]["most tokens in a window"] == f"{2 * used} of 100 in 60 s"
    assert ("more tokens than were reserved" in quota_sentence(proof)) is bool(over)
