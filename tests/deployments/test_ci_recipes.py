"""The recipes for CI call our command as it is, and run nothing that a pull request wrote.

By hand, with the published schemas (the package check-jsonschema has SchemaStore's):
`check-jsonschema --builtin-schema vendor.github-workflows deployments/ci/github-actions.yml`, the same
with vendor.gitlab-ci, and actionlint on the workflow.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli.main import main
from tasks.finished.export import EXPORTS, export_names

CI = Path(__file__).parents[2] / "deployments" / "ci"
RECIPES = {path.name: yaml.safe_load(path.read_text()) for path in sorted(CI.glob("*.yml"))}


def scripts(value: Any) -> Iterator[str]:
    """Every shell script of a recipe."""
    if isinstance(value, dict):
        for key, one in value.items():
            if key in {"run", "cmd"}:
                yield one
            elif key in {"script", "after_script"}:
                yield "\n".join(one)
            else:
                yield from scripts(one)
    elif isinstance(value, list):
        for one in value:
            yield from scripts(one)


def commands() -> list[list[str]]:
    """Every call of ours, as arguments."""
    lines = "\n".join(text for recipe in RECIPES.values() for text in scripts(recipe)).splitlines()
    found = [re.findall(r"nightly-review (?:run|export) [^&|>]*", line) for line in lines]
    return [shlex.split(one)[1:] for some in found for one in some]


def test_every_call_has_options_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """By the help of its subcommand."""
    calls = commands()
    assert len(calls) == 6
    for subcommand, *arguments in calls:
        assert main([subcommand, "--help"]) == 0
        shown = capsys.readouterr().out
        options = [one for one in arguments if one.startswith("--")]
        assert options
        assert [one for one in options if one not in shown] == []


def test_exports_are_known_and_their_files_are_used() -> None:
    """What a recipe posts, uploads or shows is what the export before it has written."""
    text = "".join((CI / name).read_text() for name in RECIPES)
    for call in commands():
        if call[0] == "export":
            formats = export_names(call[call.index("--export") + 1])
            assert all(EXPORTS[one].file in text for one in formats)
    assert RECIPES["reviewdog.yml"]["runner"]["nightly-review"] == {
        "cmd": f"cat out/{EXPORTS['rdjsonl'].file}",
        "format": "rdjsonl",
        "level": "warning",
    }


def test_nothing_of_a_pull_request_stands_in_a_script() -> None:
    """Names of branches and titles are written by others: a script gets values by its environment."""
    assert not any("${{" in text for recipe in RECIPES.values() for text in scripts(recipe))


def test_the_settings_are_not_those_of_the_head() -> None:
    """review.toml comes from the base, so that a change cannot turn off its own review."""
    github = "\n".join(scripts(RECIPES["github-actions.yml"]["jobs"]["pull-request"]))
    gitlab = "\n".join(scripts(RECIPES["gitlab-ci.yml"]))
    assert 'show "$BASE:review.toml"' in github
    assert 'show "$CI_MERGE_REQUEST_DIFF_BASE_SHA:review.toml"' in gitlab
    assert "--fail-on high" in github
    assert "--fail-on high" in gitlab


def test_jobs_have_no_more_rights_than_they_need() -> None:
    """Reading by default; writing comments where a request is reviewed, alerts where a night is."""
    workflow = RECIPES["github-actions.yml"]
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["jobs"]["pull-request"]["permissions"] == {
        "contents": "read",
        "pull-requests": "write",
    }
    assert workflow["jobs"]["night"]["permissions"] == {
        "contents": "read",
        "security-events": "write",
    }
    checkouts = [
        step["with"]
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/checkout")
    ]
    assert all(one["persist-credentials"] is False for one in checkouts)
