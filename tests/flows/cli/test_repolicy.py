"""A finished run decided anew, as a user does it; no upstream is anywhere near."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.cli.main import main
from tasks.core.files import read_json
from tasks.core.paths import RunPaths
from tasks.core.policy_settings import Policy
from tasks.finished.export.files import export_run
from tasks.finished.verify import verify
from tasks.outputs.stored import comment_of, input_of
from tasks.outputs.tables import read_reviews, read_table
from tasks.report.task import write_report
from tasks.review.findings.policy import apply_policy
from tests.factories import CODE, STRICT, make_run

QUOTA = {
    "kept": True,
    "sends": 0,
    "rate_limited": 0,
    "span_s": 0.0,
    "optimum_s": 0.0,
    "app_ids": [],
}
SETTINGS: dict[str, Any] = {
    "app_ids": {},
    "policy": {},
    "suppressions": None,
    "mode": "check_and_review",
    "check": [{"name": name} for name in ("large", "mini", "other-family")],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """A night of 120 inputs, with its manifest and reports, that nobody changes."""
    paths, facts = make_run(
        tmp_path_factory.mktemp("repolicy") / "night",
        120,
        settings=SETTINGS,
        history=None,
        prompt_version="p",
        schema_version=1,
    )
    write_report(paths, facts, [], QUOTA)
    assert main(["repolicy", str(paths.root)]) == 0
    return paths


@pytest.fixture
def night(made: RunPaths, tmp_path: Path) -> RunPaths:
    """A copy of it."""
    return RunPaths(Path(shutil.copytree(made.root, tmp_path / "night")))


def tables(paths: RunPaths) -> dict[str, pd.DataFrame]:
    return {name: pd.read_parquet(paths.table(name)) for name in ("comments", "calls")}


def files(paths: RunPaths) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in paths.root.iterdir() if one.is_file()}


def manifest(paths: RunPaths) -> dict[str, Any]:
    return dict(json.loads(paths.manifest.read_text()))


def test_the_same_thresholds_change_nothing(
    night: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every table, reviews.json and report.md are the same, byte for byte."""
    before = files(night)
    assert main(["repolicy", str(night.root)]) == 0
    after = files(night)
    assert capsys.readouterr().out.splitlines()[-2].startswith("0 of ")
    changed = {name for name in before if before[name] != after[name]}
    # Charts number their parts through the life of a process.
    assert changed <= {"manifest.json", "report.html"}
    assert set(after) == set(before)


def test_new_thresholds_decide_as_if_they_had_been_there(night: RunPaths) -> None:
    """Each outcome is what the policy says of comment and verdict; calls and verdicts stay."""
    before, strict = tables(night), Policy(min_score=7, min_severity="high")
    expected = {
        one.comment_id: (one.outcome, one.drop_reason)
        for row in read_reviews(night)
        for one in apply_policy(
            map(comment_of, row["comments"]), strict, input_of(row, "\n".join(CODE))
        )
    }
    config = night.root.parent / "strict.toml"
    config.write_text(STRICT)
    assert main(["repolicy", str(night.root), "--config", str(config)]) == 0
    after = tables(night)
    found = {
        one["comment_id"]: (one["outcome"], one["drop_reason"])
        for one in read_table(night, "comments")
    }
    assert found == expected
    pd.testing.assert_frame_equal(after["calls"], before["calls"])
    same = [name for name in before["comments"] if name not in {"outcome", "drop_reason"}]
    pd.testing.assert_frame_equal(after["comments"][same], before["comments"][same])
    facts = manifest(night)
    assert facts["settings"]["policy"]["min_severity"] == "high"
    assert facts["counts"]["dropped_by_reason"]["below_severity"] > 0
    assert verify(night, facts) == []


def test_a_marked_finding_stays_out_until_the_mark_is_taken_back(night: RunPaths) -> None:
    """Suppressed is dropped, counted and reversible."""
    before = night.reviews_json.read_bytes()
    comments = tables(night)["comments"]
    name = comments[comments["outcome"] == "kept"]["fingerprint"].iloc[0]
    marks = night.root.parent / "known.jsonl"
    marks.write_text(json.dumps({"fingerprint": name, "reason": "by design"}) + "\n")
    assert main(["repolicy", str(night.root), "--suppressions", str(marks)]) == 0
    after = tables(night)["comments"].set_index("fingerprint").loc[[name]]
    assert set(after["drop_reason"]) == {"suppressed"}
    counted = manifest(night)["counts"]["dropped_by_reason"]["suppressed"]
    assert counted == (tables(night)["comments"]["drop_reason"] == "suppressed").sum() > 0
    assert "suppressed" in night.report.read_text()
    assert main(["repolicy", str(night.root)]) == 0
    assert night.reviews_json.read_bytes() == before


def test_another_folder_leaves_the_run_as_it_was(night: RunPaths) -> None:
    """--output has all that DIR has, exports too; DIR is not touched."""
    export_run(night.root, ["sarif"])
    before, other = files(night), RunPaths(night.root.parent / "other")
    config = night.root.parent / "strict.toml"
    config.write_text(STRICT)
    command = ["repolicy", str(night.root), "--config", str(config), "--output", str(other.root)]
    assert main(command) == 0
    assert files(night) == before
    assert set(files(other)) == set(before)
    results = json.loads((other.root / "review.sarif").read_bytes())["runs"][0]["results"]
    assert 0 < len(results) < len(json.loads(before["review.sarif"])["runs"][0]["results"])
    assert verify(other, manifest(other)) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace(b"limit", b"LIMIT", 1), "do not belong together"),
        (lambda text: text[: len(text) // 2], "is missing or was changed"),
        (lambda text: b"{\n}\n" if text else text, "do not belong together"),
    ],
)
def test_outputs_that_were_changed_are_refused(
    night: RunPaths, capsys: pytest.CaptureFixture[str], damage: Any, said: str
) -> None:
    """Exit code 2, and nothing is written over."""
    night.reviews_json.write_bytes(damage(night.reviews_json.read_bytes()))
    before = files(night)
    assert main(["repolicy", str(night.root)]) == 2
    assert said in capsys.readouterr().err
    assert files(night) == before
    assert not night.work.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"fingerprint": "a", "reason": "b"}\n\n{"fingerprint": 3}\n', "line 3"),
        ("{broken", "line 1"),
        (None, "No such file"),
    ],
)
def test_a_wrong_file_of_marks_is_refused(
    night: RunPaths, capsys: pytest.CaptureFixture[str], text: str | None, said: str
) -> None:
    """The message names the file and the line."""
    marks = night.root.parent / "known.jsonl"
    if text is not None:
        marks.write_text(text)
    assert main(["repolicy", str(night.root), "--suppressions", str(marks)]) == 2
    shown = capsys.readouterr().err
    assert "known.jsonl" in shown
    assert said in shown


def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and nothing made."""
    assert main(["repolicy", str(tmp_path / "nothing")]) == 2
    assert "name the folder of a finished run" in capsys.readouterr().err
    assert read_json(tmp_path / "nothing" / "manifest.json") is None
    assert not (tmp_path / "nothing").exists()


def test_a_disk_that_fills_up_leaves_the_earlier_outputs(
    night: RunPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tables fit, the page does not: exit 2, and every file is the earlier run's."""
    before, config = files(night), night.root.parent / "strict.toml"
    config.write_text(STRICT)
    fits = len(before["report.html"]) * 9 // 10
    assert all(len(found) < fits for name, found in before.items() if name != "report.html")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (fits, hard))
    try:
        assert main(["repolicy", str(night.root), "--config", str(config)]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "report.html cannot be written" in capsys.readouterr().err
    assert files(night) == before
    assert verify(night, manifest(night)) == []


def test_canaries_stay_as_the_night_has_judged_them(night: RunPaths) -> None:
    """Their file and their facts are those of the run, whatever the thresholds are now."""
    night.canaries.write_text('{"input":1}\n')
    facts = manifest(night)
    night.manifest.write_text(json.dumps(facts | {"canaries": None}))
    strict = night.root.parent / "strict.toml"
    strict.write_text(STRICT)
    assert main(["repolicy", str(night.root), "--config", str(strict)]) == 0
    assert night.canaries.read_text() == '{"input":1}\n'
    assert manifest(night)["canaries"] is None
    copy = night.root.parent / "copy"
    assert main(["repolicy", str(night.root), "--output", str(copy)]) == 0
    assert (copy / "canaries.jsonl").exists()
