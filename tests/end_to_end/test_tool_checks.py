"""A whole run in which one check is a tool: every way to look at it, and every use of it afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deployments.sandbox import Sandbox, start_sandbox
from flows.cli.main import main
from flows.ui.progress import on_progress
from flows.ui.status import Status
from tasks.core.settings import load_settings
from tasks.estimate.estimate import estimate
from tests.conftest import KEYS, Finished, Job, PrefectServer
from tests.runs import whole

MUTABLE = "def group(events, groups={}):\n    return groups\n"
ROWS = [
    {"input_id": "a", "content": MUTABLE, "path": "a.py"},
    {"input_id": "b", "content": "x = 1\n", "path": "b.py"},
    {"input_id": "c", "content": "package x\n", "path": "c.go"},
]
LABEL = {"path": "a.py", "start_line": 1, "end_line": 1, "category": "bug", "severity": "medium"}
CONFIG = """
processes = 1
threads = 4
state = "state"
[app_ids.alpha]
key = "env:KEY_A"
base_url = "{url}"
quota = []
[[check]]
name = "one"
model = "check-1"
[[check]]
name = "ruff"
command = ["ruff", "check", "--isolated", "--no-cache", "--select", "B", "--output-format", "sarif", "{{files}}"]
include = ["*.py"]
[review]
model = "review-1"
[prices.check-1]
input = 1.0
output = 1.0
[prices.review-1]
input = 1.0
output = 1.0
"""


class Ran(NamedTuple):
    """A run with tool rows, and the upstream that it asked."""

    job: Job
    source: Path
    ended: Finished
    last: Status
    sandbox: Sandbox


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, prefect_server: PrefectServer) -> Iterator[Ran]:
    """Three inputs: ruff finds something in the first, nothing in the second, and has no say in Go."""
    folder = tmp_path_factory.mktemp("tools")
    source = folder / "inputs.jsonl"
    rows = [
        row | {"expected": [LABEL | {"message": "m"}] if row["input_id"] == "a" else []}
        for row in ROWS
    ]
    source.write_text("\n".join(map(json.dumps, rows)))
    job = Job(folder, prefect_server.environment | KEYS)
    with start_sandbox() as sandbox:
        (folder / "review.toml").write_text(CONFIG.format(url=sandbox.base_url))
        sandbox.control(
            models={"check-1": {"skill": "scripted"}, "review-1": {"skill": "scripted"}},
            answers=[
                {"model": "check-1", "comments": []},
                {"model": "review-1", "verdicts": [{"decision": "confirmed", "score": 9}]},
            ],
        )
        seen: list[Status] = []
        with on_progress(seen.append):
            ended = job.run(source)
        yield Ran(job, source, ended, seen[-1], sandbox)


def _facts(ran: Ran) -> dict[str, Any]:
    return dict(json.loads((ran.job.output / "manifest.json").read_text()))


def test_calls_are_those_of_models(ran: Ran) -> None:
    """Progress, figures and costs know the upstream's calls, and no tool among them."""
    assert ran.ended.code == 0, ran.ended.err
    made = ran.sandbox.stats()["requests"]
    assert ran.last.line().startswith(f"{made} of {made} calls, 3 of 3 inputs")
    figures = _facts(ran)["figures"]
    (ruff,) = [one for one in figures["models"] if one["name"] == "ruff"]
    assert (ruff["calls"], ruff["comments"], ruff["input_tokens"], ruff["cost_usd"]) == (0, 1, 0, 0)
    assert (figures["calls"], figures["cost_gap"]) == (made, None)
    assert sum(one["calls"] for one in figures["models"]) == made


def test_its_reports_and_rows_have_the_tool(ran: Ran) -> None:
    """report.md, report.html and the tables name it with its finding; the skipped cell has its reason."""
    assert "| ruff | tool | 0 |" in (ran.job.output / "report.md").read_text()
    page = (ran.job.output / "report.html").read_text()
    assert "B006" in page
    assert "not_included" in page
    cells = {
        row["input_id"]: (row["status"], row["reason"])
        for row in whole(ran.job.output)["calls"]
        if row["name"] == "ruff"
    }
    assert cells == {"a": ("ok", None), "b": ("ok", None), "c": ("skipped", "not_included")}


def test_it_is_verified_decided_anew_and_evaluated(
    ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands for a finished run count a tool's cells as the run did."""
    folder = str(ran.job.output)
    assert main(["verify", folder]) == 0
    assert main(["repolicy", folder, "--config", str(ran.job.folder / "review.toml")]) == 0
    assert main(["verify", folder]) == 0
    assert main(["evaluate", folder]) == 0
    assert "ruff" in capsys.readouterr().out


def test_an_estimate_runs_the_tool_where_calls_depend_on_it(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the run nothing is left to ask, also of the comments of which one is the tool's."""
    monkeypatch.chdir(ran.job.folder)
    settings = load_settings((ran.job.folder / "review.toml").read_text())
    found = estimate(str(ran.source), settings, None, fresh=False)
    made = ran.sandbox.stats()["requests"]
    assert sum(load.calls for load in found.loads) == 0
    assert sum(load.journaled for load in found.loads) == made
    anew = estimate(str(ran.source), settings, None, fresh=True)
    assert {load.name: load.calls for load in anew.loads} == {"one": 3, "review": 3, "ruff": 0}
