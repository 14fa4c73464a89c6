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
from tasks.merge.baseline import find_previous, load_suppressions, source_key, start_comparison
from tests.factories import make_run

SOURCE = "diffs.jsonl"
DAY = 100_000.0


def finished(root: Path, when: float, reviewed: int = 3, **facts: Any) -> RunPaths:
    """The manifest of a run that ended at `when`."""
    paths = RunPaths(root)
    root.mkdir(parents=True)
    coverage = {"complete": reviewed, "partial": 0, "failed": 1, "skipped": 0}
    given = {"source_key": source_key(SOURCE), "limit": None, "counts": {"coverage": coverage}}
    paths.manifest.write_text(json.dumps(given | facts))
    os.utime(paths.manifest, (when, when))
    return paths


def test_the_newest_run_of_the_source(tmp_path: Path) -> None:
    """Newer ones of another source, of a part, without a review, unfinished, or the run's own are passed over."""
    runs = tmp_path / "runs"
    finished(runs / "z-oldest", 1 * DAY)
    wanted = finished(runs / "a-last", 2 * DAY)
    finished(runs / "other", 3 * DAY, source_key=source_key("other.jsonl"))
    finished(runs / "try", 4 * DAY, limit=20)
    finished(runs / "dead", 5 * DAY, reviewed=0)
    finished(runs / "broken", 6 * DAY).manifest.write_text("{")
    (runs / "unfinished").mkdir()
    current = finished(runs / "current", 7 * DAY)
    assert find_previous(None, SOURCE, current) == wanted


def test_the_first_run_has_none(tmp_path: Path) -> None:
    """Also where the folder of all runs is not there yet."""
    assert find_previous(None, SOURCE, RunPaths(tmp_path / "runs" / "current")) is None


def test_a_named_run_is_taken_as_it_is(tmp_path: Path) -> None:
    """Of whatever source, and wherever it is; a folder without a run is refused."""
    named = finished(tmp_path / "elsewhere", DAY, source_key="other", limit=3)
    current = RunPaths(tmp_path / "runs" / "current")
    assert find_previous(str(named.root), SOURCE, current) == named
    with pytest.raises(OutputError, match="name the folder of a finished run"):
        find_previous(str(tmp_path), SOURCE, current)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("diffs.jsonl", "./diffs.jsonl", True),
        ("diffs.jsonl", "more/diffs.jsonl", False),
        ("git:.@v1..dev", "git:.@v1..main", True),
        ("git:.@HEAD@{1}..HEAD", "git:@v1..", True),
        ("git:.@since=24h", "git:.@since=7d", True),
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
    log = logging.getLogger("test")
    assert start_comparison(paths, log) is not None
    paths.table("reviews").unlink()
    assert start_comparison(paths, log) is None
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
