"""Runs on a repository that is edited between them: what is new, what recurs, what is gone."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from deployments.sandbox import Sandbox

PADDING = "".join(f"pad_{number} = {number}\n" for number in range(10))
FIRST = {
    "a.py": "first = 1 / 0\nsecond = open(name)\n",
    "b.py": "third = eval(text)\n",
    "c.py": "fourth = {}[key]\n",
    "e.py": "sixth = int(text)\n",
    "g.py": "seventh = int(size)\n",
}
SECOND = {
    # `first` moves, `second` goes, `fifth` comes; `third` is repaired; e.py is taken back, g.py deleted.
    "a.py": f"{PADDING}first = 1 / 0\nfifth = rows[len(rows)]\n",
    "b.py": "third = int(text)\n",
    "c.py": FIRST["c.py"],
    "d.py": "nothing = 0\n",
}
ISSUES = (
    "1 / 0",
    "open(name)",
    "eval(text)",
    "{}[key]",
    "rows[len(rows)]",
    "sixth = int(text)",
    "int(size)",
)
CONFIG = """
link = "https://git.example.test/team/{{repo}}/blob/{{commit}}/{{path}}#L{{line}}"
processes = 1
state = "state"
[app_ids.alpha]
key = "env:KEY_A"
base_url = "{url}"
quota = []
[[check]]
name = "one"
model = "check-1"
[review]
model = "review-1"
"""


class Repository:
    """A small repository whose tags are the states that runs see."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self._git("init", "-q", "-b", "main")
        self.commit("base", {"g.py": "nothing = 1\n"})

    def commit(self, tag: str, files: dict[str, str]) -> None:
        """Exactly these files from now on."""
        for old in self.root.glob("*.py"):
            old.unlink()
        for name, text in files.items():
            (self.root / name).write_text(text)
        self._git("add", "-A")
        self._git("commit", "-q", "--allow-empty", "-m", tag)
        self._git("tag", tag)

    def _git(self, *arguments: str) -> None:
        who = {
            f"GIT_{role}_{what}": "t@t"
            for role in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        subprocess.run(
            ["git", *arguments], cwd=self.root, env=os.environ | who | quiet, check=True, timeout=60
        )


def script(files: dict[str, str]) -> list[dict[str, Any]]:
    """Every issue that stands in a file is raised, and each is confirmed."""
    checks = [
        {
            "match": f"File: {path}",
            "model": "check-1",
            "comments": [raised(line) for line in text.splitlines() if line.endswith(ISSUES)],
        }
        for path, text in files.items()
    ]
    return [*checks, {"model": "review-1", "verdicts": [{"decision": "confirmed", "score": 8}]}]


def raised(line: str) -> dict[str, Any]:
    fields = {"existing_code": line, "category": "bug", "severity": "high"}
    return fields | {"title": f"See {line}", "message": line}


def ages(output: Path) -> dict[str, Any]:
    """The name that each comment's line begins with -> its age."""
    comments = pd.read_parquet(output / "comments.parquet").astype(object)
    comments["age"] = comments["age"].where(comments["age"].notna(), None)
    return {
        code.split()[0]: age
        for code, age in zip(comments["existing_code"], comments["age"], strict=True)
    }


def history(output: Path) -> Any:
    return json.loads((output / "manifest.json").read_text())["history"]


@pytest.fixture
def review_at(
    sandbox: Sandbox, make_job: Callable[..., Any], tmp_path: Path
) -> Callable[..., Path]:
    """Review one state of the edited repository, and get its output."""
    repository = Repository(tmp_path / "project")
    job = make_job(CONFIG.format(url=sandbox.base_url))

    def review(tag: str, files: dict[str, str], *arguments: str) -> Path:
        models = {name: {"skill": "scripted"} for name in ("check-1", "review-1")}
        sandbox.control(models=models, answers=script(files))
        repository.commit(tag, files)
        output = job.folder / "runs" / tag
        ended = job.run(f"git:{repository.root}@base..{tag}", *arguments, output=output)
        assert ended.code == 0, (ended.err, ended.out)
        return Path(output)

    return review


def test_runs_on_an_edited_repository(review_at: Callable[..., Path], sandbox: Sandbox) -> None:
    """Moved is recurring, removed, repaired and of a deleted file are gone, out of the range is unknown, marked stays out."""
    one = review_at("one", FIRST)
    assert ages(one) == dict.fromkeys(("first", "second", "third", "fourth", "sixth", "seventh"))
    assert history(one) is None

    two = review_at("two", SECOND)
    assert ages(two) == {"first": "recurring", "fifth": "new", "fourth": "recurring"}
    found = history(two)
    assert {name: found[name] for name in ("new", "recurring", "dropped", "gone", "unknown")} == {
        "new": 1, "recurring": 2, "dropped": 0, "gone": 3, "unknown": 1,
    }  # fmt: skip
    gone = [(lost["path"], lost["title"]) for lost in found["worst_gone"]]
    assert sorted(gone) == [
        ("a.py", "See second = open(name)"),
        ("b.py", "See third = eval(text)"),
        ("g.py", "See seventh = int(size)"),
    ]
    assert found["folder"] == str(one)
    report = (two / "report.md").read_text()
    assert (
        "| new | recurring | dropped | gone | unknown |\n| --- | --- | --- | --- | --- |\n| 1 | 2 | 0 | 3 | 1 |"
        in report
    )
    assert "See third = eval(text)" in report
    assert "](/" not in report, "its own server has no pages to link to"
    started = json.loads((one / "manifest.json").read_text())["started_at"]
    since = pd.read_parquet(two / "comments.parquet")["since"].astype(object)
    assert sorted(since.dropna()) == [started, started]
    page = (two / "report.html").read_text()
    assert re.search(r"https://git\.example\.test/team/project/blob/[0-9a-f]{40}/a\.py#L12", page)
    assert "the file was deleted" not in page
    assert 'id="failed"' not in page

    comments = pd.read_parquet(two / "comments.parquet").set_index("existing_code")
    mark = {"fingerprint": comments.loc["first = 1 / 0", "fingerprint"], "reason": "by design"}
    (two.parents[1] / "suppressions.jsonl").write_text(json.dumps(mark) + "\n")
    asked = sandbox.stats()["requests"]
    three = review_at("three", SECOND, "--previous", str(one))
    assert sandbox.stats()["requests"] == asked
    outcomes = pd.read_parquet(three / "comments.parquet", columns=["outcome", "drop_reason"])
    assert outcomes.fillna("").to_numpy().tolist() == [
        ["dropped", "suppressed"],
        ["kept", ""],
        ["kept", ""],
    ]
    found = history(three)
    assert {name: found[name] for name in ("new", "recurring", "dropped", "gone", "unknown")} == {
        "new": 1, "recurring": 1, "dropped": 1, "gone": 3, "unknown": 1,
    }  # fmt: skip
    assert "1 suppressed" in (three / "report.md").read_text()
    assert '<div class="value">$0.00</div>' in (three / "report.html").read_text()
    told = pd.read_parquet(three / "comments.parquet")["since"].astype(object)
    assert set(told.dropna()) == {started}
