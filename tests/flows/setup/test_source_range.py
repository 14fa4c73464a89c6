"""The commits of a run: decided once, the same for whoever repeats it, moved on when it is complete."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.setup.config import new_run
from flows.setup.source_range import SourceRange, move_on, resolve_source, resolved_now
from tasks.core.errors import SourceError
from tasks.core.paths import RunPaths
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.load.sources.git import resolve
from tests.conftest import PrefectServer
from tests.load.sources.conftest import Repository, repository

__all__ = ["repository"]

SETTINGS = """
state = "{state}"
mode = "check"
[app_ids.alpha]
key = "env:KEY_A"
base_url = "http://127.0.0.1:9/v1"
quota = []
[[check]]
name = "one"
model = "check-1"
"""
HOUR = timedelta(hours=1)


class Nights:
    """Runs of one repository, each with an id and a folder of its own."""

    def __init__(self, repository: Any, tmp_path: Path) -> None:
        self.repository = repository
        self.folder = tmp_path
        self.settings = load_settings(SETTINGS.format(state=tmp_path / "state"), "review.toml")
        self.number = 0

    def source(self, wanted: str) -> str:
        """The repository as a source."""
        return f"git:{self.repository.root}@{wanted}"

    def start(
        self,
        wanted: str = "since=last",
        *,
        config: str = "review.toml",
        output: str | None = None,
        given: str | None = None,
        limit: int | None = None,
    ) -> tuple[SourceRange, RunPaths, Run]:
        """Resolve the source as a run does at its start."""
        self.number += 1
        run = new_run(f"run-{self.number}", self.settings, fresh=False)
        paths = RunPaths(self.folder / (output or run.run_id))
        paths.root.mkdir(exist_ok=True)
        source = self.source(wanted)
        taken = resolve_source(source, given, paths, run, config=config, limit=limit)
        return taken, paths, run

    def run(self, wanted: str = "since=last", *, complete: bool = True, **more: Any) -> SourceRange:
        """A whole run."""
        taken, paths, run = self.start(wanted, **more)
        assert move_on(taken, paths, run, complete=complete) is None
        return taken


@pytest.fixture
def nights(repository: Any, tmp_path: Path) -> Nights:
    """A repository of one old commit, never reviewed."""
    repository.commit({"a.py": "1\n"}, ago=90 * HOUR)
    return Nights(repository, tmp_path)


def span(taken: SourceRange) -> tuple[str, str]:
    """Base and head."""
    assert taken.commits is not None
    return taken.commits.base, taken.commits.head


def test_nights_follow_each_other_without_a_gap(nights: Nights) -> None:
    """Each begins where the last complete one ended, whatever the dates of the commits say."""
    first = nights.run()
    one = nights.repository.commit({"b.py": "1\n"}, ago=80 * HOUR)
    assert span(nights.run()) == (span(first)[1], one)
    two = nights.repository.commit({"c.py": "1\n"}, ago=99 * HOUR)
    assert span(nights.run()) == (one, two)
    assert span(nights.run()) == (two, two)


def test_only_a_complete_run_of_everything_moves_on(nights: Nights) -> None:
    """One with gaps, a killed one and one of some rows leave their commits to the next one."""
    base = span(nights.run())[1]
    nights.repository.commit({"b.py": "1\n"})
    nights.run(complete=False)
    nights.start()
    nights.run(limit=5)
    head = nights.repository.commit({"c.py": "1\n"})
    assert span(nights.run()) == (base, head)


def test_a_first_run_that_fails_loses_nothing(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it began is remembered, so the next one does not look back a day from later."""
    base = nights.repository.git("rev-parse", "HEAD")
    nights.repository.commit({"b.py": "1\n"}, ago=20 * HOUR)
    nights.run(complete=False)
    monkeypatch.setattr(resolve, "FIRST", HOUR)  # as if it were twenty hours later
    assert span(nights.run())[0] == base


def test_other_settings_are_another_matter(nights: Nights) -> None:
    """Two nightlies with different checks over one repository take nothing from each other."""
    nights.run(config="security.toml")
    nights.run(config="style.toml")
    base = nights.repository.git("rev-parse", "HEAD")
    head = nights.repository.commit({"b.py": "1\n"}, ago=40 * HOUR)
    assert span(nights.run(config="security.toml")) == (base, head)
    assert span(nights.run(config="style.toml")) == (base, head)


def test_a_rerun_into_the_folder_takes_the_same_range(nights: Nights) -> None:
    """Of a run that did not end complete, though more has arrived; after a complete one it goes on."""
    nights.run()
    nights.repository.commit({"b.py": "1\n"})
    broken, _, _ = nights.start(output="out")
    late = nights.repository.commit({"c.py": "1\n"})
    again = nights.run(output="out")
    assert again.resolved == broken.resolved
    assert span(nights.run(output="out")) == (span(again)[1], late)


def test_a_retry_of_the_flow_takes_the_same_range(
    nights: Nights, prefect_server: PrefectServer
) -> None:
    """Prefect runs it once more with its old parameters, into another folder, and more has arrived."""
    seen: list[str] = []

    @flow(retries=1, persist_result=False)
    def night() -> None:
        seen.append(nights.start("since=24h")[0].resolved)
        nights.repository.commit({f"{len(seen)}.py": "1\n"})
        if len(seen) == 1:
            msg = "the first attempt fails"
            raise RuntimeError(msg)

    url = prefect_server.environment["PREFECT_API_URL"]
    with temporary_settings({PREFECT_API_URL: url}):
        night()
    assert len(seen) == 2
    assert len(set(seen)) == 1


def test_a_rerun_by_time_loses_nothing(nights: Nights) -> None:
    """The time has moved on and no head is remembered: from the same base to what is there by now."""
    nights.repository.commit({"b.py": "1\n"}, ago=HOUR)
    broken, _, _ = nights.start("since=24h", output="out")
    late = nights.repository.commit({"c.py": "1\n"})
    assert span(nights.run("since=24h", output="out")) == (span(broken)[0], late)
    other = nights.run("HEAD~1..", output="out")
    assert span(other)[1] == late


def test_a_rerun_of_the_same_range_counts_as_the_night(nights: Nights) -> None:
    """An automation gives the range of the incomplete run; an older one never moves the head back."""
    nights.run()
    head = nights.repository.commit({"b.py": "1\n"})
    broken = nights.run(complete=False)
    late = nights.repository.commit({"c.py": "1\n"})
    assert nights.run(given=broken.resolved).resolved == broken.resolved
    assert span(nights.run()) == (head, late)
    nights.run(given=broken.resolved)
    assert span(nights.run()) == (late, late)


def test_state_that_fails_at_the_end_costs_no_outputs(nights: Nights) -> None:
    """All is paid for and written: the next run reviews these commits again, and this one says so."""
    taken, paths, run = nights.start()
    os.rename(nights.folder / "state", nights.folder / "gone")  # noqa: PTH104 - a folder
    (nights.folder / "state").write_text("")
    told = move_on(taken, paths, run, complete=True)
    assert "reviews these commits again" in str(told)


def test_an_estimate_remembers_nothing(nights: Nights) -> None:
    """It says what a run would read now, and leaves the state as it is."""
    nights.repository.commit({"b.py": "1\n"}, ago=HOUR)
    source = nights.source("since=last")
    estimated = resolved_now(source, "review.toml", nights.settings)
    assert not (nights.folder / "state").exists()
    assert nights.run().resolved == estimated


def test_what_is_no_repository_is_left_alone(nights: Nights) -> None:
    """A file is its own range, and nothing is written for it."""
    run = new_run("r", nights.settings, fresh=False)
    paths = RunPaths(nights.folder)
    taken = resolve_source("diffs.jsonl", None, paths, run, config="review.toml", limit=None)
    assert taken == SourceRange("diffs.jsonl", "diffs.jsonl")
    assert list(taken.lines()) == []
    assert taken.nothing(0) is None


def test_each_repository_has_a_range_and_a_head_of_its_own(repository: Any, tmp_path: Path) -> None:
    """One that is reviewed alone tonight and in a list tomorrow goes on where it was."""
    (tmp_path / "other").mkdir()
    nights, other = Nights(repository, tmp_path), Repository(tmp_path / "other" / "api")
    first = repository.commit({"a.py": "1"}, ago=3 * HOUR)
    other.commit({"a.py": "1"}, ago=3 * HOUR)
    nights.run()
    second, api = repository.commit({"a.py": "2"}), other.commit({"a.py": "2"})
    source = f"{nights.source('since=last')} git:{other.root}@since=last"
    paths, run = RunPaths(tmp_path / "list"), new_run("list", nights.settings, fresh=False)
    paths.root.mkdir()

    def resolve() -> SourceRange:
        return resolve_source(source, None, paths, run, config="review.toml", limit=None)

    taken = resolve()
    ranges = [(one.commits.base, one.commits.head) for one in taken.repositories]
    assert ranges[0] == (first, second)
    assert ranges[1][1] == api
    assert taken.commits is None
    assert len([line for line in taken.lines() if "reviewing" in line]) == 2
    # A run that did not end complete is repeated with the same commits, of both.
    repository.commit({"a.py": "3"})
    other.commit({"a.py": "3"})
    assert resolve().resolved == taken.resolved
    assert move_on(taken, paths, run, complete=True) is None
    later = resolve()
    assert [one.commits.base for one in later.repositories] == [second, api]
    assert resolved_now(source, "review.toml", nights.settings) == later.resolved
    given = f"git:{other.root}@since=1h"
    with pytest.raises(SourceError, match="leave resolved out"):
        resolve_source(source, given, paths, run, config="review.toml", limit=None)
    assert later.nothing(0) == "nothing changed in 2 repositories"
