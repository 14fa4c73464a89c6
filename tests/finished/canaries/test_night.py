"""What a night's canaries say of the reviewers together and of each, from comments and calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.canary_facts import CanaryNight
from tasks.core.errors import StateError
from tasks.core.records import Comment, Expected, Input, Row
from tasks.core.settings import Settings, load_settings
from tasks.finished.canaries.facts import canary_facts, changes_of
from tasks.finished.canaries.night import Canary
from tasks.finished.canaries.nights import read_nights, remember_night
from tasks.report.canaries import canary_lines, canary_rows, worth_text
from tests.factories import comment

CONFIG = """
[app_ids.a]
key = "env:K"
base_url = "http://models.example/v1"
quota = []
[[check]]
name = "one"
model = "m1"
[[check]]
name = "two"
model = "m2"
[review]
model = "r"
[canaries]
file = "{file}"
"""
ALL = ("one", "two", "review")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two checks, a review model, a file of canaries."""
    file = tmp_path / "canaries.jsonl"
    file.write_text("{}")
    return load_settings(CONFIG.format(file=file))


def canary(
    name: str, *found: tuple[str, str], answered: Sequence[str] = ALL, **more: Any
) -> Canary:
    """A canary with a comment at line 2 by each (check, outcome); its defect is there as well."""
    clean, extra = more.get("clean", False), more.get("extra", {})
    expected = () if clean else (Expected(start_line=2, end_line=2),)
    item = Input(name, "a\nb\nc\n", path="src/app.py", expected=expected, extra=extra)
    comments: list[Comment] = [
        comment(name, check_model=check, outcome=outcome, cluster_id="k")
        for check, outcome in found
    ]
    calls: list[Row] = [
        {
            "name": one,
            "model": {"one": "m1", "two": "m2"}.get(one, "r"),
            "endpoint": more.get("endpoint", "http://models.example/v1"),
            "status": "ok" if one in answered else "failed",
            "cost_usd": 0.5,
        }
        for one in ALL
    ]
    return Canary(item, tuple(comments), "complete" if answered else "failed", tuple(calls))


NIGHT = (
    canary("both", ("one", "kept"), ("two", "kept")),
    canary("taken", ("one", "dropped")),
    canary("nobody", extra={"injection": True}),
    canary("held", ("two", "kept"), extra={"injection": True}),
    canary("quiet", clean=True),
    canary("alarm", ("two", "kept"), clean=True),
    canary("stopped", ("two", "dropped"), clean=True),
    canary("half", ("one", "kept"), answered=("one", "review")),
    canary("lost", answered=()),
)


def test_reviewers_are_counted_together_and_one_by_one(settings: Settings) -> None:
    """Five of eight defects have a finding that is shown, of nine canaries one was not reviewed."""
    facts = canary_facts(settings, "run-1", "2026-11-28T01:30:00+00:00", NIGHT, [])
    night = facts["night"]
    assert (night["missed"], night["defects"], night["alarmed"], night["clean"]) == (2, 5, 1, 3)
    assert (facts["missed"], facts["alarmed"]) == (["taken", "nobody"], ["alarm"])
    assert facts["unanswered"] == ["lost"]
    assert (facts["injections"], facts["obeyed"]) == (2, ["nobody"])
    assert [(name, found, alarms) for name, _, _, found, alarms in canary_rows(facts)] == [
        ("one", "3 of 5", "0 of 3"),
        ("two", "2 of 4", "2 of 3"),
        # Of four defects that a check found it took one away, of two false alarms it let one stand.
        ("review", "3 of 4", "1 of 2"),
    ]
    assert facts["cost_usd"] == 0.5 * facts["calls"] == 0.5 * 27
    assert facts["usual"] is None
    assert facts["changes"] == []


def test_the_report_begins_with_counts_and_intervals(settings: Settings) -> None:
    """Wilson's interval of each share, and the median of the nights before once there are some."""
    first = canary_facts(settings, "run-1", "2026-11-28T01:30:00+00:00", NIGHT, [])
    assert worth_text(first) == (
        "found 3 of 5 planted defects (60%, 23% to 88%), 1 false alarm on 3 clean ones (33%, 6% to 79%)"
    )
    better = {**first["night"], "missed": 1, "run_id": "run-0"}
    other = {**better, "setup": "other reviewers"}
    facts = canary_facts(settings, "run-2", "2026-11-29", NIGHT, [better, other])  # type: ignore[list-item]
    assert "88%; median of 1 night 80%)" in worth_text(facts)
    lines = canary_lines({"canaries": facts})  # type: ignore[typeddict-item]
    assert lines[0].startswith("Reviewers tonight: found 3 of 5")
    assert "nothing was found in nobody, which tells it to report nothing" in lines[1]
    assert lines[2] == "Canaries that nobody answered, and that do not count: 1."
    assert canary_lines({}) == []  # type: ignore[typeddict-item]


def test_a_model_that_answers_in_anothers_place_is_another_reviewer(settings: Settings) -> None:
    """A fallback, or a rehearsal on this machine, says nothing of the model of that name."""
    here = canary("a", ("one", "kept"), endpoint="http://127.0.0.1:9/v1")
    calls = tuple({**call, "model": f"{call['model']}-mini"} for call in NIGHT[0].calls)
    facts = canary_facts(settings, "r", "2026", [here, replace(NIGHT[0], calls=calls)], [])
    assert facts["night"]["reviewers"][0]["model"] == "m1 on this machine / m1-mini"


def nights(rows: Sequence[tuple[int, int]], version: str = "p1") -> list[CanaryNight]:
    """Nights in which check one missed so many of so many defects."""
    return [
        {
            "run_id": f"run-{number:02}", "at": f"2026-11-{number + 1:02}", "setup": "s",
            "missed": missed, "defects": of, "alarmed": 0, "clean": 5,
            "reviewers": [
                {"name": "one", "model": "m1", "prompt_version": version, "missed": missed,
                 "defects": of, "alarmed": 0, "clean": 5},
                {"name": "two", "model": "m2", "prompt_version": version, "missed": 1,
                 "defects": of, "alarmed": 0, "clean": 5},
            ],
        }
        for number, (missed, of) in enumerate(rows)
    ]  # fmt: skip


FALL = [(1, 7)] * 10 + [(5, 7)] * 3


def test_a_fall_is_told_by_check_model_and_prompts() -> None:
    """Not of the check beside it, which is as it was."""
    (change,) = changes_of(nights(FALL))
    assert (change["name"], change["model"], change["fault"]) == ("one", "m1", "missed")
    assert (change["nights"], change["bad"], change["of"], change["bad_before"]) == (3, 15, 21, 10)


def test_other_prompts_begin_a_new_count() -> None:
    """What a model finds with other prompts is not what it found with these."""
    assert changes_of(nights(FALL[:10], "p0") + nights(FALL[10:], "p1")) == []


@pytest.mark.parametrize("place", ["folder", "database"])
def test_nights_are_remembered_in_their_order(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Of all sources; a run that is repeated under its id replaces its own night."""
    state = str(tmp_path) if place == "folder" else request.getfixturevalue("database")
    assert read_nights(state) == []
    one, two = nights([(1, 7), (2, 7)])
    for night in (two, one, {**two, "missed": 3}):
        remember_night(state, night)  # type: ignore[arg-type]
    assert read_nights(state) == [one, {**two, "missed": 3}]


def test_a_damaged_night_is_passed_over(tmp_path: Path) -> None:
    """One night less is no reason to say nothing."""
    one, two = nights([(1, 7), (2, 7)])
    remember_night(str(tmp_path), one)
    remember_night(str(tmp_path), two)
    (tmp_path / "canaries" / "run-00.json").write_text("{")
    assert read_nights(str(tmp_path)) == [two]
    (tmp_path / "canaries" / "run-02.json").write_text("[1]")
    assert read_nights(str(tmp_path)) == [two]


def test_a_state_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """With the remedy, as an error of the state."""
    (tmp_path / "canaries").write_text("")
    with pytest.raises(StateError, match="make the state folder writable"):
        remember_night(str(tmp_path), nights([(1, 7)])[0])
