"""A whole run with a budget, as its user and Prefect's automations see it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deployments.sandbox import Sandbox
from flows.cli.estimate import print_estimate
from tests.conftest import Job
from tests.end_to_end.test_bulk_review import SAMPLES, config, manifest


def test_run_ends_incomplete_when_its_budget_is_spent(
    sandbox: Sandbox,
    make_job: Callable[..., Job],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twenty calls and no more; estimate, state, report, manifest and page say so; a larger budget goes on."""
    job = make_job(config(sandbox, review=False) + "[budget]\ncalls = 20\n")
    monkeypatch.chdir(job.folder)
    assert print_estimate(str(SAMPLES), config="review.toml", limit=None, fresh=False) == 0
    assert "20 calls left of budget.calls: the run ends INCOMPLETE after" in capsys.readouterr().out
    ended = job.run(SAMPLES)
    assert ended.code == 3, ended.err
    assert sandbox.stats()["requests"] == 20
    found = manifest(job.output)
    assert found["budget"] == [
        {"cap": "budget.calls", "limit": 20, "spent": 20, "share": 1, "reached": True}
    ]
    missing = found["counts"]["failed_by_reason"]["over_budget"]
    assert missing == found["counts"]["cells"]["planned"] - 20
    assert f"{missing} over_budget (raise the budget in review.toml" in found["result"]
    said = "budget.calls: 20 of 20, 100%; calls were left for it"
    assert said in (job.output / "report.md").read_text()
    assert said in (job.output / "report.html").read_text()
    (job.folder / "review.toml").write_text(config(sandbox, review=False, processes=1))
    again = job.run(SAMPLES)
    assert again.code == 0, again.err
    assert sandbox.stats()["requests"] == found["counts"]["cells"]["planned"]
