"""A server that misbehaves, met by a whole run: it ends complete without help, or says why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from deployments.sandbox import Sandbox
from tests.conftest import Job
from tests.runs import PASSING, config, numbered, whole

MakeJob = Callable[..., Job]

LASTING = {
    "status_400": "bad_request",
    "context_length": "context_length",
    "content_policy": "content_filter",
    "content_filter": "content_filter",
    "refusal": "refusal",
    "huge": "too_large",
}
"""Faults that come back however often one asks, with the reason that they end under."""

HEAD = "timeout = 3\nstream_idle_timeout = 1"


@pytest.mark.parametrize("seed", [11])
def test_a_fifth_of_all_answers_is_faulty(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path, seed: int
) -> None:
    """200 cells under fifteen kinds of faults at 20 %: complete, and as if there had been none."""
    source = numbered(tmp_path / "inputs.jsonl", 100)
    sandbox.control(seed=seed, faults=PASSING, hang_seconds=30, fault_wait=0.2)
    job = make_job(config(sandbox, head=HEAD))
    ended = job.run(source)
    assert ended.code == 0, ended.err
    seen = sandbox.stats()
    met = sum(seen["faults"].values())
    assert met >= 0.1 * seen["requests"]
    assert len(seen["faults"]) >= 12

    sandbox.reset()
    job = make_job(config(sandbox, processes=1))
    undisturbed = job.run(source, "--fresh", output=job.folder / "apart" / "undisturbed")
    assert undisturbed.code == 0, undisturbed.err
    assert undamaged(job.output) == undamaged(job.output, job.folder / "apart" / "undisturbed")


def undamaged(output: Path, compared: Path | None = None) -> dict[str, Any]:
    """
    The reviews whose replies came as they were meant. A model that is asked again because of its
    form is asked something else, and a mended reply may be shorter: those are set aside.
    """
    calls = pd.read_parquet(output / "calls.parquet")
    odd = set(calls[~calls["parse_mode"].isin(["schema", "json"])]["input_id"])
    document = whole(compared or output)["reviews.json"]
    assert len(odd) < 0.2 * len(document)
    return {name: review for name, review in document.items() if name not in odd}


def test_lasting_faults_have_their_reason(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path
) -> None:
    """Each ends its own cell under a stable reason, and no other one."""
    source = tmp_path / "marked.jsonl"
    rows = [
        {"input_id": name, "content": f"# [[sandbox:{name}]]\nx = {number}\n"}
        for number, name in enumerate([*LASTING, "none"])
    ]
    source.write_text("\n".join(map(json.dumps, rows)))
    job = make_job(config(sandbox, processes=1))
    ended = job.run(source)
    assert ended.code == 3, ended.err
    calls = pd.read_parquet(job.output / "calls.parquet")
    found = {
        str(name): set(group["reason"].fillna("ok")) for name, group in calls.groupby("input_id")
    }
    assert found == {**{name: {reason} for name, reason in LASTING.items()}, "none": {"ok"}}
    facts = json.loads((job.output / "manifest.json").read_text())
    assert facts["counts"]["cells"] == {
        "planned": 14,
        "ok": 2,
        "failed": 12,
        "skipped": 0,
    }


def test_one_flagged_input_costs_no_key(
    sandbox: Sandbox, make_job: MakeJob, tmp_path: Path
) -> None:
    """A content filter refuses the first of 40 inputs: one cell, in its words, and five keys go on."""
    source = numbered(tmp_path / "inputs.jsonl", 39)
    flagged = {"input_id": "flagged", "content": "# [[sandbox:content_policy]]\nx = 1\n"}
    source.write_text(f"{json.dumps(flagged)}\n{source.read_text()}\n")
    keys = {f"KEY_{number}": f"planted-key-{number}" for number in range(5)}
    app_ids = "".join(
        f'[app_ids.{name.lower()}]\nkey = "env:{name}"\nbase_url = "{sandbox.base_url}"\n'
        'quota = "5/1s"\n'
        for name in keys
    )
    check = '[[check]]\nname = "one"\nmodel = "check-1"\n'
    job = make_job(f'mode = "check"\nprocesses = 1\nstate = "state"\n{app_ids}{check}').using(keys)
    ended = job.run(source)
    assert ended.code == 3, ended.err
    facts = json.loads((job.output / "manifest.json").read_text())
    assert (facts["counts"]["coverage"]["complete"], facts["counts"]["cells"]["ok"]) == (39, 39)
    assert facts["counts"]["failed_by_reason"] == {"content_filter": 1}
    (failed,) = facts["upstream"]["failures"]
    assert failed["calls"] == 1
    assert "HTTP 400: The prompt was filtered by the content management policy." in failed["said"]
    assert facts["upstream"]["closed"] == facts["upstream"]["holds"] == []
    rows = facts["figures"]["quota"]["app_ids"]
    assert [row["disabled"] for row in rows] == [None] * 5
    assert min(row["sends"] for row in rows) > 0
    assert sandbox.stats()["statuses"] == {"200": 39, "400": 1}  # the other keys did not ask again
