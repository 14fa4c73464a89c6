"""Nights of one repository as the deployment runs them: what each reviewed, and what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.sandbox import Sandbox
from flows.setup.config import source_of
from tasks.core.records import Input
from tasks.core.settings import load_settings
from tasks.core.team_rules import RuleFile
from tasks.review.prompts import PROMPT_VERSION, prompt_version
from tasks.review.prompts.team_rules import TeamRules
from tests.conftest import Job
from tests.load.sources.conftest import Repository, repository

__all__ = ["repository"]

CONFIG = """
processes = 1
state = "state"
mode = "check"
[app_ids.alpha]
key = "env:KEY_A"
base_url = "{url}"
quota = []
[[check]]
name = "one"
model = "check-1"
"""
RULES = RuleFile("project", "REVIEW.md", "No globals.")
HOUR = timedelta(hours=1)


@pytest.fixture
def job(sandbox: Sandbox, make_job: Callable[..., Job]) -> Job:
    """A job whose check finds nothing, quickly."""
    return make_job(CONFIG.format(url=sandbox.base_url))


def manifest(output: Path) -> Any:
    """What the run says of itself."""
    return json.loads((output / "manifest.json").read_text())


def paths(output: Path) -> set[str]:
    """The files that were reviewed."""
    return set(pd.read_parquet(output / "reviews.parquet")["path"])


def flow_run(job: Job, facts: Any) -> FlowRun:
    """The run as Prefect's server knows it."""
    url = job.environment["PREFECT_API_URL"]
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(facts["flow_run_id"]))


def test_nights_of_a_repository(job: Job, repository: Any) -> None:
    """The range is in the manifest, the parameters and the name; a quiet night says that it was one.

    The team's rules, as they stood before the night, reach the shard's prompts and the report.
    """
    base = repository.commit({"a.py": "a = 1\n", "REVIEW.md": "No globals.\n"}, ago=90 * HOUR)
    one = repository.commit({"b.py": "b = 1\n"}, ago=HOUR)
    source, runs = f"git:{repository.root}@since=last", job.folder / "runs"

    assert job.run(source, output=runs / "1").code == 0
    assert paths(runs / "1") == {"b.py"}
    first = manifest(runs / "1")
    assert first["source"] == source
    assert first["source_resolved"] == f"git:{repository.root}@{base}..{one}"
    assert (first["commits"]["commits"], first["commits"]["files"]) == (1, 1)
    made = flow_run(job, first)
    assert made.parameters["resolved"] == first["source_resolved"]
    rule = {"rule": "REVIEW.md", "inputs": 1, "cut": 0, "left_out": 0, "changed": False}
    assert first["rules"] == [rule]
    assert first["prompt_version"] != PROMPT_VERSION
    (asked,) = pd.read_parquet(runs / "1" / "calls.parquet")["prompt_sha256"]
    rules = TeamRules(load_settings(CONFIG.format(url="http://localhost:1/v1")), [RULES])
    item = Input("b", "", path="b.py", extra={"repo": "project"})
    assert asked == prompt_version("check", rules.for_input(item).form)
    assert "REVIEW.md" in (runs / "1" / "report.md").read_text()

    quiet = job.run(source, output=runs / "2")
    assert quiet.code == 0
    told = f"nothing changed since {one[:7]}"
    assert told in quiet.out
    second = manifest(runs / "2")
    assert (second["result"], second["complete"]) == (f"complete: {told}", True)
    made = flow_run(job, second)
    assert told in made.name
    assert made.state is not None
    assert made.state.message == f"complete: {told}"

    late = repository.commit({"c.py": "c = 1\n"}, ago=80 * HOUR)
    assert job.run(source, output=runs / "3").code == 0
    assert paths(runs / "3") == {"c.py"}
    assert manifest(runs / "3")["commits"]["head"] == late


def test_two_repositories_are_one_run(job: Job, repository: Any, tmp_path: Path) -> None:
    """From [[source]]: one quota and one report, with ids, ranges, rules and counts by repository."""
    other = Repository(tmp_path / "api")
    for one, rule in ((repository, "No globals.\n"), (other, "No sleep.\n")):
        one.commit({"a.py": "a = 1\n", "REVIEW.md": rule}, ago=90 * HOUR)
    repository.commit({"a.py": "a = 2\n"}, ago=HOUR)
    head = other.commit({"a.py": "a = 2\n", "b.py": "b = 1\n"}, ago=HOUR)
    sources = [f"git:{one.root}@since=last" for one in (repository, other)]
    tables = "".join(f'[[source]]\nat = "{one}"\n' for one in sources)
    config = job.folder / "review.toml"
    config.write_text(config.read_text() + tables)
    output = job.folder / "both"

    assert job.run(source_of(None, str(config)), output=output).code == 0
    facts = manifest(output)
    assert facts["source"] == " ".join(sources)
    assert facts["commits"] is None
    assert [(one["repo"], one["inputs"]) for one in facts["repositories"]] == [
        ("project", 1),
        ("api", 2),
    ]
    assert facts["repositories"][1]["commits"]["head"] == head
    assert [(one["rule"], one["inputs"]) for one in facts["rules"]] == [
        ("project: REVIEW.md", 1),
        ("api: REVIEW.md", 2),
    ]
    calls = pd.read_parquet(output / "calls.parquet")
    sections = calls["input_id"].str.partition("//")[0]
    assert list(sections) == ["api", "api", "project"]
    assert calls.groupby(sections)["prompt_sha256"].nunique().to_dict() == {"api": 1, "project": 1}
    assert calls["prompt_sha256"].nunique() == 2
    report = (output / "report.md").read_text()
    assert "## Repositories" in report
    assert f"..{head[:7]} | 2 | 2 complete |" in report
