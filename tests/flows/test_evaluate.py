"""Models of known skill, a whole run, and the figures that they were built to have."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from deployments.sandbox import Sandbox
from flows.cli.main import main
from flows.evaluate import evaluate
from tests.conftest import Finished
from tests.factories import make_run

CODE = """\
def {name}(rows):
    total = 0
    for row in rows:
        total += row.price
    limit = {number}
    return total / len(rows)
"""
DEFECT, ALARMS = 6, (2, 5)
DEFECTIVE = [f"defect_{number:02}" for number in range(20)]
CLEAN = [f"clean_{number:02}" for number in range(10)]
FOUND_BY_ONE = DEFECTIVE[:12]
FOUND_BY_TWO = [*DEFECTIVE[8:12], *DEFECTIVE[12:14]]
WRONGLY_REJECTED = {DEFECTIVE[0], DEFECTIVE[11]}
"""The first is found by one check, the second by both."""
BELIEVED = {(name, ALARMS[0]) for name in CLEAN[:5]}
"""False alarms that the review falls for."""


def rows() -> list[dict[str, Any]]:
    """20 inputs with one defect each, 10 clean ones."""
    label = {"start_line": DEFECT, "end_line": DEFECT, "category": "bug"}
    return [
        {
            "input_id": name,
            "content": CODE.format(name=name, number=number),
            "path": f"src/{name}.py",
            "expected": [label] if name in DEFECTIVE else [],
        }
        for number, name in enumerate([*DEFECTIVE, *CLEAN])
    ]


def said(name: str, line: int) -> dict[str, Any]:
    """A comment of a check; its title tells the review model what to think of it."""
    true = line == DEFECT
    rejected = name in WRONGLY_REJECTED if true else (name, line) not in BELIEVED
    return {
        "start_line": line,
        "end_line": line,
        "existing_code": CODE.splitlines()[line - 1].format(number=0)
        if line != ALARMS[1]
        else None,
        "category": "bug",
        "severity": "high",
        "title": f"{'Reject' if rejected else 'Confirm'} line {line}",
        "message": "No rows, no mean." if true else "It only looks wrong.",
    }


def script() -> list[dict[str, Any]]:
    """Answers of both checks and of the review."""
    one = [(name, [DEFECT]) for name in FOUND_BY_ONE] + [(name, [*ALARMS]) for name in CLEAN]
    two = [(name, [DEFECT]) for name in FOUND_BY_TWO]
    checks = [
        {"match": f"def {name}(", "model": model, "comments": [said(name, line) for line in lines]}
        for model, found in (("check-1", one), ("check-2", two))
        for name, lines in found
    ]
    rules = [
        {"about": "Reject", "decision": "rejected", "score": 0},
        {"decision": "confirmed", "score": 8},
    ]
    return [*checks, {"model": "review-1", "verdicts": rules}]


def config(sandbox: Sandbox, *, mode: str) -> str:
    return f"""
mode = "{mode}"
processes = 1
state = "state"
[app_ids.alpha]
key = "env:KEY_A"
base_url = "{sandbox.base_url}"
quota = []
[[check]]
name = "one"
model = "check-1"
[[check]]
name = "two"
model = "check-2"
[review]
model = "review-1"
[prices."check-1"]
input = 1.0
output = 1.0
"""


BEFORE = {
    ("all checks", "before"): ("14", "20", "6", "41.2", "70.0", "51.9", "2.00"),
    ("one", "before"): ("12", "20", "8", "37.5", "60.0", "46.2", "2.00"),
    ("two", "before"): ("6", "0", "14", "100.0", "30.0", "46.2", "0.00"),
}
AFTER = {
    ("all checks", "after"): ("12", "5", "8", "70.6", "60.0", "64.9", "0.50"),
    ("one", "after"): ("10", "5", "10", "66.7", "50.0", "57.1", "0.50"),
    ("two", "after"): ("5", "0", "15", "100.0", "25.0", "40.0", "0.00"),
}
LIFT = {
    "all checks": ("+29.4", "-10.0", "+13.0"),
    "one": ("+29.2", "-10.0", "+11.0"),
    "two": ("+0.0", "-5.0", "-6.2"),
}
WORTH = {"one": ("15", "12", "30"), "two": ("5", "2", "30")}
"""Confirmed, only by it, saves calls."""
CHANGES = {"one": ("7", "5"), "two": ("2", "0")}
"""Loses defects, spares false."""
HITS = ("by place", "by place and matter")


Cells = tuple[str, ...]


def printed(text: str) -> dict[str, dict[Cells, Cells]]:
    """The tables on the terminal, without the intervals: title -> a row's words -> its figures."""
    tables: dict[str, dict[Cells, Cells]] = {}
    rows: dict[Cells, Cells] = {}
    for line in text.splitlines():
        cells = tuple(re.split(r"\s{2,}", re.sub(r" \(\d+ to \d+\)", "", line.strip())))
        if len(cells) == 1 and cells[0].strip("─"):
            rows = tables.setdefault(cells[0], {})
        elif cells[0] in {"all checks", "one", "two"}:
            words = 2 if cells[1] in {"before", "after", "none", *HITS} else 1
            rows[cells[:words]] = cells[words:]
    return {title: rows for title, rows in tables.items() if rows}


def evaluated(folder: Path, *arguments: str) -> Finished:
    """The command, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["evaluate", str(folder), *arguments])
    return Finished(code, out.getvalue(), err.getvalue())


def test_figures_are_those_that_the_models_were_built_to_have(
    sandbox: Sandbox, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    """60 % and 30 % found, two false alarms per clean input; a review that takes 15 of 20 of them and 2 defects."""
    sandbox.control(
        models={name: {"skill": "scripted"} for name in ("check-1", "check-2", "review-1")},
        answers=script(),
    )
    source = tmp_path / "labelled.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    job = make_job(config(sandbox, mode="check_and_review"))
    ended = job.run(source)
    assert ended.code == 0, ended.err

    shown = evaluated(job.output, "--json", str(tmp_path / "scores.json"))
    assert shown.code == 0, shown.err
    tables = printed(shown.out)
    # The labels have a category alone, and all comments are of it.
    assert [tables[f"Scores {hit}"] for hit in HITS] == [BEFORE | AFTER] * 2
    assert tables["Filter lift"] == {(who, hit): LIFT[who] for who in LIFT for hit in HITS}
    worth = tables["What each check is worth"]
    assert {name: worth[name,][:3] for name in WORTH} == WORTH
    assert worth["two",][-1] == "unknown"
    changes = {(name, hit): CHANGES[name] for name in CHANGES for hit in HITS}
    assert tables["What dropping a check changes"] == changes
    assert "30 labelled inputs scored, 10 of them known to be clean." in shown.out
    figures = json.loads((tmp_path / "scores.json").read_text())
    assert figures == json.loads((job.output / "evaluation.json").read_text())
    assert figures["union"]["by_place_and_matter"]["after_review"]["recall"]["value"] == 0.6
    assert figures["checks"]["one"]["dropping_it"]["saves"]["cost_usd"] > 0
    _leaves_an_artifact(job)

    alone = make_job(config(sandbox, mode="check"))
    ended = alone.run(source, output=alone.folder / "alone")
    assert ended.code == 0, ended.err
    compared = evaluated(alone.folder / "alone", "--against", str(job.output))
    tables = printed(compared.out)
    # Without the review 14 of 20 defects stay found in place of 12, among 20 false ones in place of 5.
    assert re.search(r"recall %, by place +60\.0 +70\.0 +\+10\.0 +\S+ to \S+ +no", compared.out)
    assert re.search(
        r"precision %, by place +70\.6 +41\.2 +-29\.4 +-\S+ to -\S+ +yes", compared.out
    )
    expected = {(name, "none"): figures for (name, _), figures in BEFORE.items()}
    assert [tables[f"Scores {hit}"] for hit in HITS] == [expected] * 2
    assert "Filter lift" not in tables


def _leaves_an_artifact(job: Any) -> None:
    """The flow shows the same text in the UI."""
    evaluate(str(job.output))
    key = ArtifactFilter(key=ArtifactFilterKey(any_=["bulk-review-evaluation"]))
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(artifact_filter=key)
    assert artifact.data == (job.output / "evaluation.md").read_text()


def test_a_run_without_labels_says_how_to_get_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, the remedy, and no file."""
    settings = {"mode": "check_and_review", "check": [{"name": "large"}]}
    paths, _ = make_run(tmp_path / "run", 20, settings=settings)
    assert main(["evaluate", str(paths.root)]) == 2
    assert "has no labelled input: give rows of the source a field `expected`" in (
        capsys.readouterr().err
    )
    assert not paths.evaluation.exists()
    assert not paths.evaluation_json.exists()


def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and nothing written."""
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "name the folder of a finished run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
