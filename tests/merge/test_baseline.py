"""The run that is compared with, and the findings that are known to be false."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ConfigError, OutputError
from tasks.core.paths import RunPaths
from tasks.merge.baseline import (
    Baseline,
    close_comparison,
    find_previous,
    load_suppressions,
    source_key,
    start_comparison,
)
from tasks.outputs.findings import read_carried, read_findings
from tests.factories import make_run

SOURCE = "diffs.jsonl"
LOG = logging.getLogger("test")


def finished(root: Path, day: int, **facts: Any) -> RunPaths:
    """A run that started on this day of the month; its files are made now."""
    given = {
        "source_key": source_key(SOURCE),
        "limit": None,
        "started_at": f"2026-11-{day:02}T01:30:00+00:00",
    }
    paths, _ = make_run(root, 2, **{**given, **facts})
    return paths


def unreviewed() -> dict[str, Any]:
    """The counts of a run whose every input failed."""
    return {"coverage": {"complete": 0, "partial": 0, "failed": 1, "skipped": 0}}


def test_the_newest_run_of_the_source(tmp_path: Path) -> None:
    """Newer ones of another source, of a part, without a review, unfinished, or the run's own are passed over."""
    runs = tmp_path / "runs"
    finished(runs / "z-oldest", 1)
    wanted = finished(runs / "a-last", 2)
    finished(runs / "other", 3, source_key=source_key("other.jsonl"))
    finished(runs / "try", 4, limit=20)
    finished(runs / "dead", 5, counts=unreviewed())
    finished(runs / "broken", 6).manifest.write_text("{")
    (runs / "unfinished").mkdir()
    current = finished(runs / "current", 7)
    assert find_previous(None, SOURCE, current, LOG) == wanted


def test_a_run_is_as_old_as_its_start(tmp_path: Path) -> None:
    """A copy, a restore or a new decision writes an old manifest anew; it is no newer for that."""
    runs = tmp_path / "runs"
    wanted = finished(runs / "last", 2)
    old = finished(runs / "old", 1)
    os.utime(wanted.manifest, (1, 1))
    os.utime(old.manifest, (9e8, 9e8))
    assert find_previous(None, SOURCE, RunPaths(runs / "current"), LOG) == wanted


@pytest.mark.parametrize("damage", ["manifest", "counts", "started_at", "reviews", "comments"])
def test_a_damaged_run_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """Whatever is wrong with an old folder costs a line in the log, and the run before it is taken."""
    runs = tmp_path / "runs"
    wanted = finished(runs / "before", 1)
    broken = finished(runs / "broken", 2)
    if damage == "manifest":
        broken.manifest.write_text("[1]")
    elif damage in {"reviews", "comments"}:
        broken.table(damage).write_bytes(b"no table")
    else:
        facts = json.loads(broken.manifest.read_text())
        broken.manifest.write_text(json.dumps({**facts, damage: "?"}))
    assert find_previous(None, SOURCE, RunPaths(runs / "current"), LOG) == wanted
    assert str(broken.root) in caplog.text
    assert "damaged" in caplog.text


def test_a_run_damaged_meanwhile_costs_the_history_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may go between the start of a run and its merge, when all is paid for."""
    earlier = finished(tmp_path / "runs" / "before", 1)
    comparison = start_comparison(earlier, LOG)
    earlier.manifest.unlink()
    current = RunPaths(tmp_path / "runs" / "current")
    assert close_comparison(Baseline({}, earlier), comparison, current, LOG) is None
    assert "left out" in caplog.text


def test_open_findings_are_carried_along(tmp_path: Path) -> None:
    """What two runs in a row did not look at is known to the third; a deleted file's is not."""
    first, _ = make_run(tmp_path / "first", 12)
    shown = [one for found in read_findings(first) for one in found.shown]
    assert len({one["path"] for one in shown}) > 1
    second, third = RunPaths(tmp_path / "second"), RunPaths(tmp_path / "third")
    for paths in (second, third):
        paths.root.mkdir()
    facts = close_comparison(Baseline({}, first), start_comparison(first, LOG), second, LOG)
    assert facts is not None
    assert facts["unknown"] == len(shown)
    carried = {one["comment_id"] for one in read_carried(second)}
    assert carried == {one["comment_id"] for one in shown}

    make_run(tmp_path / "quiet", 0, source_key=source_key(SOURCE))
    quiet = RunPaths(tmp_path / "quiet")
    quiet.carried.write_bytes(second.carried.read_bytes())
    gone = shown[0]["path"]
    third.rejected.write_text(json.dumps({"row": 1, "reason": "deleted", "snippet": gone}) + "\n")
    facts = close_comparison(Baseline({}, quiet), start_comparison(quiet, LOG), third, LOG)
    assert facts is not None
    assert {one["path"] for one in facts["worst_gone"]} == {gone}
    assert facts["gone"] + facts["unknown"] == len({one["fingerprint"] for one in shown})
    assert gone not in {one["path"] for one in read_carried(third)}


def test_a_file_that_left_the_folder_takes_its_findings_along(tmp_path: Path) -> None:
    """A folder is reviewed whole: what it has no more cannot be open."""
    folder = tmp_path / "src"
    folder.mkdir()
    first, second = finished(tmp_path / "first", 1), RunPaths(tmp_path / "second")
    second.root.mkdir()
    baseline = Baseline({}, first, folder)
    facts = close_comparison(baseline, start_comparison(first, LOG), second, LOG)
    assert facts is not None
    assert facts["unknown"] == 0
    assert facts["gone"] > 0
    assert not second.carried.exists()


def test_the_first_run_has_none(tmp_path: Path) -> None:
    """Also where the folder of all runs is not there yet."""
    assert find_previous(None, SOURCE, RunPaths(tmp_path / "runs" / "current"), LOG) is None


def test_a_named_run_is_taken_as_it_is(tmp_path: Path) -> None:
    """Of whatever source, and wherever it is; a folder without a run is refused."""
    named = finished(tmp_path / "elsewhere", 1, source_key="other", limit=3)
    current = RunPaths(tmp_path / "runs" / "current")
    assert find_previous(str(named.root), SOURCE, current, LOG) == named
    with pytest.raises(OutputError, match="name the folder of a finished run"):
        find_previous(str(tmp_path), SOURCE, current, LOG)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("diffs.jsonl", "./diffs.jsonl", True),
        ("diffs.jsonl", "more/diffs.jsonl", False),
        ("git:.@v1..dev", "git:.@v1..main", True),
        ("git:.@HEAD@{1}..HEAD", "git:@v1..", True),
        ("git:.@since=24h", "git:.@since=last", True),
        ("git:.@since=24h", "git:.@v1..main", False),
        ("git:.@v1..main", "git:..@v1..main", False),
    ],
)
def test_what_is_the_same_source(one: str, other: str, same: bool) -> None:
    """A path however it is written; a repository by its path and the form of what is asked."""
    assert (source_key(one) == source_key(other)) is same


def test_a_run_that_went_away_costs_the_comparison_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run's answers are paid for: the merge goes on without ages, and says so."""
    paths, _ = make_run(tmp_path / "before", 10)
    assert start_comparison(paths, LOG) is not None
    paths.table("reviews").unlink()
    assert start_comparison(paths, LOG) is None
    assert "no comparison with the earlier run" in caplog.text


LOG = logging.getLogger("test")


@pytest.mark.parametrize("form", ["git:{}@HEAD~1..HEAD", "git:{}/src@since=24h", "{}"])
def test_code_under_review_cannot_silence_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    """A file inside the checkout or folder is ignored with a warning, and refused when named."""
    checkout, mark = tmp_path / "checkout", '{"fingerprint": "f", "reason": "by design"}\n'
    (checkout / ".git").mkdir(parents=True)
    (checkout / "src").mkdir()
    for folder in (checkout, tmp_path):
        (folder / "suppressions.jsonl").write_text(mark)
    source = form.format(checkout)
    monkeypatch.chdir(checkout)

    assert load_suppressions(None, source, LOG) == {}
    assert "suppressions.jsonl is ignored, it lies inside the code under review" in caplog.text
    with pytest.raises(ConfigError, match="would silence itself: keep it outside"):
        load_suppressions(str(checkout / "suppressions.jsonl"), source, LOG)
    (tmp_path / "link.jsonl").symlink_to(checkout / "suppressions.jsonl")
    with pytest.raises(ConfigError, match="would silence itself"):
        load_suppressions(str(tmp_path / "link.jsonl"), source, LOG)
    (checkout / "out.jsonl").symlink_to(tmp_path / "suppressions.jsonl")
    with pytest.raises(ConfigError, match="would silence itself"):
        load_suppressions("out.jsonl", source, LOG)
    assert load_suppressions("../suppressions.jsonl", source, LOG) == {"f": "by design"}


def test_the_usual_file_of_marks_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """suppressions.jsonl is read where the run starts; only a file that was named must be there."""
    monkeypatch.chdir(tmp_path)
    assert load_suppressions(None, None, LOG) == {}
    Path("suppressions.jsonl").write_text('{"fingerprint": "f", "reason": "by design"}\n')
    assert load_suppressions(None, None, LOG) == {"f": "by design"}
    with pytest.raises(ConfigError, match=r"known\.jsonl cannot be read \(No such file"):
        load_suppressions("known.jsonl", None, LOG)
    Path("latin.jsonl").write_bytes(b'{"fingerprint": "f", "reason": "\xe9"}\n')
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_suppressions("latin.jsonl", None, LOG)
