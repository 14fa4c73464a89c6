"""Two nights with canaries: judged, remembered, asked anew, and in nothing but their own file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from deployments.sandbox import Sandbox
from flows.cli.main import main
from tasks.load.canaries import read_canaries
from tests.runs import config, numbered

SET = Path(__file__).parents[2] / "data" / "samples" / "canaries.jsonl"
CANARIES = {one.input_id: one for one in read_canaries(str(SET))}
DEAF = {"py-session-token", "go-worker-pool", "java-version-order"}
"""Defective ones that no check raises."""
SHY = {"js-voucher-check", "py-transfer-note"}
"""Injections that check two obeys and check one does not."""
WRONG = {"py-binary-search", "go-safe-counter"}
"""Clean ones with a comment that the review model falls for."""


def script() -> list[dict[str, Any]]:
    """Check one raises every defect but three, check two not the injections; both raise two false alarms."""
    answers: list[dict[str, Any]] = []
    for name, canary in CANARIES.items():
        lines = [label.start_line for label in canary.expected or () if name not in DEAF]
        lines += [3] if name in WRONG else []
        for model in ("check-1", "check-2"):
            if lines and not (name in SHY and model == "check-2"):
                said = {"start_line": lines[0], "end_line": lines[0], "path": canary.path}
                answers.append(
                    {
                        "match": f'"path":"{canary.path}"',
                        "model": model,
                        "comments": [
                            said | {"title": "See", "message": "See here.", "category": "bug"}
                        ],
                    }
                )
    own = {"start_line": 2, "end_line": 2, "title": "One", "message": "One.", "severity": "high"}
    answers.append({"match": "def f0(", "model": "check-1", "comments": [own]})
    return [*answers, {"model": "review-1", "verdicts": [{"decision": "confirmed", "score": 8}]}]


def facts_of(output: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((output / "manifest.json").read_text())
    return facts


def in_tables(output: Path) -> set[str]:
    """Every input id that an output names."""
    tables = [
        pq.read_table(output / f"{name}.parquet") for name in ("reviews", "comments", "calls")
    ]
    return {one for table in tables for one in table["input_id"].to_pylist()}


def is_right(facts: dict[str, Any]) -> None:
    """The counts of a night are those that the models were built to have, whatever was drawn."""
    drawn, night = set(facts["drawn"]), facts["night"]
    defective = {name for name in drawn if CANARIES[name].expected}
    assert (night["defects"], night["clean"]) == (len(defective), len(drawn - defective))
    assert set(facts["missed"]) == defective & DEAF
    assert set(facts["alarmed"]) == drawn & WRONG
    assert (facts["injections"], facts["obeyed"]) == (len(drawn & SHY), [])
    rows = {one["name"]: one for one in night["reviewers"]}
    assert rows["one"]["missed"] == len(defective & DEAF)
    assert rows["two"]["missed"] == len(defective & (DEAF | SHY))
    assert (rows["review"]["missed"], rows["review"]["defects"]) == (0, len(defective - DEAF))


def test_two_nights_tell_what_the_reviewers_were_worth(
    sandbox: Sandbox, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    """The report's first lines; counts, tables, history and the journal of the run are without them.

    Its one finding of its own is all that `--fail-on` knows of.
    """
    models = {name: {"skill": "scripted"} for name in ("check-1", "check-2", "review-1")}
    sandbox.control(models=models, answers=script())
    job = make_job(
        config(sandbox, review=True, processes=1) + f'[canaries]\nfile = "{SET}"\nper_night = 16\n'
    )
    source = numbered(tmp_path / "rows.jsonl", 6)
    own = {f"i{n:04}" for n in range(6)}

    first = job.run(source)
    assert first.code == 0, first.err
    facts = facts_of(job.output)
    is_right(facts["canaries"])
    assert len(facts["canaries"]["drawn"]) == 16
    assert (facts["counts"]["inputs"], facts["counts"]["comments"]["raised"]) == (6, 1)
    assert in_tables(job.output) == own
    assert json.loads((job.output / "reviews.json").read_text()).keys() == own
    found = "Reviewers tonight: found "
    assert (job.output / "report.md").read_text().splitlines()[6].startswith(f"- {found}")
    assert found in (job.output / "report.html").read_text()
    assert f"canaries  {found}" in first.out
    assert main(["verify", str(job.output)]) == 0
    asked = sandbox.stats()["requests"]

    second = job.run(source, "--fail-on", "high", output=job.folder / "second")
    assert second.code == 4, second.err
    assert "--fail-on high: 1 high" in second.err
    later = facts_of(job.folder / "second")
    is_right(later["canaries"])
    assert later["canaries"]["seed"] != facts["canaries"]["seed"]
    assert set(later["canaries"]["drawn"]) != set(facts["canaries"]["drawn"])
    assert later["canaries"]["usual"]["nights"] == 1
    assert (later["history"]["new"], later["history"]["recurring"]) == (0, 1)
    # The run's own answers are in the journal; every canary was asked by both checks, and reviewed.
    assert sandbox.stats()["requests"] - asked == later["canaries"]["calls"]
    lines = (job.folder / "second" / "canaries.jsonl").read_text().splitlines()
    kept = [json.loads(line) for line in lines]
    assert [one["input"]["input_id"] for one in kept] == later["canaries"]["drawn"]
    assert not any(
        call["journaled"]
        for one in kept
        for call in one["review"]["calls"]
        if call["status"] == "ok"
    )


def test_a_set_inside_the_code_under_review_is_refused(
    sandbox: Sandbox, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    """Those who are reviewed could fit the reviewers to it; nothing is asked."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    (folder / "canaries.jsonl").write_bytes(SET.read_bytes())
    text = config(sandbox) + f'[canaries]\nfile = "{folder / "canaries.jsonl"}"\n'
    ended = make_job(text).run(folder)
    assert ended.code == 2
    assert "lies inside the code under review" in ended.err
    assert sandbox.stats()["requests"] == 0
