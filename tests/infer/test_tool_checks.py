"""Checks that are tools, on real programs: their findings become comments, their failures failed cells."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployments.sandbox import Sandbox

Reviewer = Callable[..., list[dict[str, Any]]]

RUFF = """
[[check]]
name = "ruff"
command = ["ruff", "check", "--isolated", "--no-cache", "--select", "B,S,F", "--output-format", "sarif", "{files}"]
include = ["*.py"]
severities = { "" = "medium", "S6" = "high" }
categories = { "S" = "security" }
"""
CHECK = '[[check]]\nname = "one"\nmodel = "c1"\n'
REVIEW = '[review]\nmodel = "r1"\n'
ONLY = 'mode = "check"\n'

GROUPS = "def group(events, groups={}):\n    for event in events:\n        groups[event.id] = event\n    return groups\n"
SEARCH = "import os\n\n\ndef search(db, name):\n    return db.run(f\"SELECT * FROM t WHERE n = '{name}'\")\n"
DIFF = """\
diff --git a/shop/search.py b/shop/search.py
--- a/shop/search.py
+++ b/shop/search.py
@@ -1,4 +1,4 @@
 import os

 def search(db, name):
-    return db.find(name)
+    return db.run("SELECT " + name)
"""
ROWS = [
    {"input_id": "groups", "content": GROUPS, "path": "billing/groups.py"},
    {"input_id": "nowhere", "content": SEARCH, "language": "Python"},
    {"input_id": "twin", "content": SEARCH, "path": "billing/groups.py"},
    {"input_id": "outside", "content": GROUPS, "path": "../../--fix.py"},
    {"input_id": "clean", "content": "x = 1\n", "path": "clean.py"},
    {"input_id": "go", "content": "package x\n", "path": "x.go"},
    {"input_id": "diff", "content": DIFF, "kind": "diff"},
]


def _program(tmp_path: Path, text: str) -> str:
    """A check whose command is a script of this Python."""
    script = tmp_path / "tool.py"
    script.write_text(text)
    return f'[[check]]\nname = "tool"\ncommand = [{json.dumps(sys.executable)}, "{script}", "{{files}}"]\n'


def _sarif(path: str, line: int, text: str = "Found it") -> str:
    place = {"artifactLocation": {"uri": path}, "region": {"startLine": line}}
    results = [
        {"ruleId": "T1", "message": {"text": text}, "locations": [{"physicalLocation": place}]}
    ]
    return json.dumps({"runs": [{"tool": {"driver": {"name": "t"}}, "results": results}]})


@pytest.fixture
def one(review_rows: Reviewer) -> Callable[..., dict[str, Any]]:
    """Review a single row."""

    def review(config: str, **row: Any) -> dict[str, Any]:
        given = {"input_id": "r", "content": GROUPS, "path": "a.py"} | row
        return review_rows([given], config)[0]

    return review


def test_ruff_finds_what_is_there(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """Real findings at their lines, whatever the path; other languages and diffs are skipped; no call."""
    reviews = {one["input_id"]: one for one in review_rows(ROWS, ONLY + RUFF)}
    found = {
        name: [
            (one["title"].partition(":")[0], one["start_line"], one["severity"], one["category"])
            for one in review["comments"]
        ]
        for name, review in reviews.items()
    }
    mutable, unused = ("B006", 1, "medium", "bug"), ("F401", 1, "medium", "bug")
    assert found == {
        "groups": [mutable],
        "nowhere": [unused, ("S608", 5, "high", "security")],
        "twin": [unused, ("S608", 5, "high", "security")],
        "outside": [mutable],
        "clean": [],
        "go": [],
        "diff": [],
    }
    (comment,) = reviews["groups"]["comments"]
    assert comment["loc_method"] == "exact"
    assert comment["path"] == "billing/groups.py"
    assert reviews["outside"]["comments"][0]["path"] == "../../--fix.py"
    ends = {name: review["calls"][0]["reason"] for name, review in reviews.items()}
    assert (ends["go"], ends["diff"], ends["clean"]) == ("not_included", "no_whole_file", None)
    row = reviews["clean"]["calls"][0]
    assert (row["status"], row["model"], row["attempts"], row["cost_usd"]) == ("ok", "tool", 0, 0)
    assert row["input_tokens"] is None
    assert reviews["clean"]["coverage"] == "complete"
    assert sandbox.stats()["requests"] == 0


MUTABLE = {
    "start_line": 1,
    "end_line": 1,
    "title": "Mutable default argument",
    "category": "bug",
    "existing_code": GROUPS.splitlines()[0],
}
"""What a model says of the line that ruff's B006 is about."""


def test_findings_are_judged_beside_a_models(
    sandbox: Sandbox, one: Callable[..., dict[str, Any]]
) -> None:
    """A tool's finding joins the cluster of a model's, and the review model rejects or confirms it."""
    sandbox.control(
        models={"c1": {"skill": "scripted"}, "r1": {"skill": "scripted"}},
        answers=[
            {"model": "c1", "comments": [MUTABLE]},
            {"model": "r1", "verdicts": [{"about": "B006", "decision": "rejected", "score": 0},
                                         {"decision": "confirmed", "score": 9}]},
        ],
    )  # fmt: skip
    review = one(CHECK + RUFF + REVIEW)
    outcomes = {
        one["check_model"]: (one["outcome"], one["agreement"]) for one in review["comments"]
    }
    assert outcomes == {"one": ("kept", 2), "ruff": ("dropped", 2)}
    assert sandbox.stats()["requests"] == 2


def test_findings_that_are_not_for_review_stay_as_they_are(
    sandbox: Sandbox, one: Callable[..., dict[str, Any]]
) -> None:
    """With `review = false` no verdict is asked for, and a neighbour's verdict is not theirs."""
    sandbox.control(
        models={"c1": {"skill": "scripted"}, "r1": {"skill": "scripted"}},
        answers=[
            {"model": "c1", "comments": [MUTABLE]},
            {"model": "r1", "verdicts": [{"decision": "rejected", "score": 0}]},
        ],
    )
    review = one(f'{CHECK}{RUFF}review = false\n{REVIEW}scope = "canonical"\n')
    found = {one["check_model"]: (one["outcome"], one["verdict"]) for one in review["comments"]}
    assert found["ruff"] == ("unverified", None)
    alone = one(f"{RUFF}review = false\n{REVIEW}")
    assert [(call["stage"], call["status"]) for call in alone["calls"]] == [
        ("check", "ok"),
        ("review", "skipped"),
    ]
    assert [one["outcome"] for one in alone["comments"]] == ["unverified"]


def test_a_failing_model_does_not_hide_the_tool(
    sandbox: Sandbox, one: Callable[..., dict[str, Any]]
) -> None:
    """The tool's findings stay where the model's call fails; with no tool's word the input has failed."""
    sandbox.control(models={"c1": {"skill": "scripted"}}, answers=[{"content": "no"}])
    partial = one(ONLY + CHECK + RUFF)
    assert (partial["coverage"], len(partial["comments"])) == ("partial", 1)
    assert one(ONLY + CHECK + RUFF, path="a.go")["coverage"] == "failed"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (
            "import sys; sys.exit('no such rule: X9')",
            "tool_failed",
            "exit code 1: no such rule: X9",
        ),
        ("print('not JSON')", "tool_failed", "exit code 0: not JSON"),
        ("", "tool_failed", "exit code 0: it wrote nothing"),
        ("import sys; print('{\"runs\": []}'); sys.exit(2)", "tool_failed", "exit code 2"),
        ("import os; os.kill(os.getpid(), 9)", "tool_failed", "signal 9"),
        ("import time; print('on it', flush=True); time.sleep(60)", "tool_timeout", "0.5 s"),
    ],
)
def test_a_tool_that_fails_is_a_failed_cell_with_its_words(
    tmp_path: Path, one: Callable[..., dict[str, Any]], text: str, code: str, words: str
) -> None:
    """Crashes, silence, nonsense and endlessness: the cell says which, and never "nothing found"."""
    timeout = "timeout = 0.5\n" if code == "tool_timeout" else ""
    review = one(ONLY + _program(tmp_path, text) + timeout)
    (row,) = review["calls"]
    assert (row["status"], row["reason"]) == ("failed", code)
    assert words in row["raw_snippet"]
    assert review["coverage"] == "failed"


def test_findings_are_no_failure_whatever_the_exit_code(
    tmp_path: Path, one: Callable[..., dict[str, Any]]
) -> None:
    """A linter that ends with 4 because it found something has done its work."""
    review = one(
        ONLY + _program(tmp_path, f"print('''{_sarif('a.py', 2)}'''); raise SystemExit(4)")
    )
    assert [one["start_line"] for one in review["comments"]] == [2]
    assert review["calls"][0]["status"] == "ok"


def test_a_missing_program_is_named(one: Callable[..., dict[str, Any]]) -> None:
    """It is a failed cell with the remedy, and no shard that breaks."""
    review = one(ONLY + '[[check]]\nname = "tool"\ncommand = ["no-such-linter"]\n')
    row = review["calls"][0]
    assert row["reason"] == "tool_not_found"
    assert "no-such-linter is not there: install it" in row["raw_snippet"]


def test_a_tool_does_not_see_the_keys(
    tmp_path: Path, one: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable that holds a key is not in its environment; the others are."""
    monkeypatch.setenv("K", "key-of-the-pool")
    monkeypatch.setenv("OTHER", "seen")
    finding = json.loads(_sarif("a.py", 1))
    text = f"import os, json\nf = {finding!r}\n"
    text += "f['runs'][0]['results'][0]['message']['text'] = f\"{os.environ.get('K')} {os.environ['OTHER']}\"\nprint(json.dumps(f))\n"
    (comment,) = one(ONLY + _program(tmp_path, text))["comments"]
    assert comment["message"] == "None seen"


def test_a_sarif_file_is_matched_by_path_and_line(tmp_path: Path, review_rows: Reviewer) -> None:
    """Of a diff only findings on added lines are comments; paths of another machine fit all the same."""
    file = tmp_path / "night.sarif"
    logs = [
        json.loads(_sarif(path, line))
        for path, line in [
            ("file:///ci/build/shop/search.py", 4),
            ("file:///ci/build/shop/search.py", 1),
            ("file:///ci/build/billing/groups.py", 3),
            ("file:///ci/other/x.py", 1),
        ]
    ]
    runs = [run for log in logs for run in log["runs"]]
    file.write_text(json.dumps({"version": "2.1.0", "runs": runs}))
    config = f'{ONLY}[[check]]\nname = "ci"\nsarif = "{file}"\n'
    rows = [row for row in ROWS if row["input_id"] in {"groups", "diff", "clean"}]
    reviews = {one["input_id"]: one for one in review_rows(rows, config)}
    places = {
        name: [(one["path"], one["start_line"], one["side"]) for one in review["comments"]]
        for name, review in reviews.items()
    }
    assert places == {
        "groups": [("billing/groups.py", 3, "right")],
        "diff": [("shop/search.py", 4, "right")],
        "clean": [],
    }
    assert {one["coverage"] for one in reviews.values()} == {"complete"}


def test_a_sarif_file_that_is_not_there_is_a_failed_cell(
    tmp_path: Path, one: Callable[..., dict[str, Any]]
) -> None:
    """Nothing found must not come from a file that nobody wrote."""
    review = one(f'{ONLY}[[check]]\nname = "ci"\nsarif = "{tmp_path}/none.sarif"\n')
    row = review["calls"][0]
    assert (row["status"], row["reason"]) == ("failed", "unreadable_sarif")
    assert "write it before the run" in row["raw_snippet"]
