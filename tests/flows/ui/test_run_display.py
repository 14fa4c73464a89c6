"""Names of runs, for people who read a list of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from flows.ui.run_display import brief, dataset_of
from tasks.core.cells import RunCounts


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("data/samples/diffs.jsonl", "diffs"),
        ("/somewhere/tonight.jsonl.gz", "tonight"),
        ("folder/of/patches/", "patches"),
        ("git:/srv/shop@since=24h", "shop since=24h"),
        ("git:/srv/shop@v1..HEAD", "shop v1..HEAD"),
        (f"{'long' * 20}.csv", f"{'long' * 9}l..."),
    ],
)
def test_dataset_is_what_people_call_it(source: str, name: str) -> None:
    """The last part of a path, and the range of a repository, of bounded length."""
    assert dataset_of(source) == name


def test_dataset_of_the_project_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository named as "." is called like its folder."""
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path / "shop")

    assert dataset_of("git:.@since=24h") == "shop since=24h"


def test_brief_says_what_is_missing() -> None:
    """A whole run has one number of inputs, one with gaps has two; dropped comments do not count."""
    outcomes = Counter({"kept": 3, "unverified": 1, "dropped": 9})
    whole = RunCounts(inputs=1200, coverage=Counter({"complete": 1200}), outcomes=outcomes)
    gaps = RunCounts(inputs=1200, coverage=Counter({"complete": 1188, "failed": 12}))

    assert brief(whole) == "1,200 inputs, 4 comments"
    assert brief(gaps) == "1,188 of 1,200 inputs, 0 comments"
