"""Calibration of finished runs, from the command line to the table in review.toml."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from flows.cli.main import main
from tasks.core.errors import ConfigError
from tasks.core.paths import RunPaths
from tasks.core.policy_settings import Policy
from tasks.core.records import Comment, Expected, Input, Verdict
from tasks.core.settings import load_settings
from tasks.finished.calibrate.calibration import calibrate
from tasks.finished.calibrate.text import policy_toml, with_policy
from tests.factories import CODE, STRICT, comment, write_run

SETTINGS = {"policy": Policy().model_dump(), "suppressions": None}


def judged(input_id: str, line: int, score: int, **fields: Any) -> Comment:
    """A confirmed comment with this score, a finding of its own."""
    made = comment(input_id, line=line, outcome="kept", existing_code=CODE[line - 1], **fields)
    verdict = Verdict("r", "ok", "confirmed", score, "", CODE[line - 1])
    return replace(made, verdict=verdict, cluster_id=made.comment_id)


def labelled(number: int) -> tuple[Input, list[Comment], list[Any]]:
    """A defect at line 2 that was found with 7; a false alarm at line 6 with 4; some style with 6."""
    name = f"i{number:03}"
    label = Expected(start_line=2, end_line=2, category="bug")
    item = Input(name, "\n".join(CODE), path="src/app.py", expected=(label,))
    comments = [judged(name, 2, 7), judged(name, 6, 4)]
    if number % 2:
        comments.append(judged(name, 8, 6, category="style", severity="low"))
    return item, comments, []


def run(root: Path, inputs: int = 60) -> RunPaths:
    paths, _ = write_run(root, [labelled(number) for number in range(inputs)], settings=SETTINGS)
    return paths


def canary_night(root: Path, night: int) -> RunPaths:
    """A run without labels, with canaries whose true findings have 6 and whose false ones have 5."""
    paths, _ = write_run(root, [(Input("own", "\n".join(CODE)), [], [])], settings=SETTINGS)
    rows = []
    for number in range(12):
        name = f"canary-{number}"
        expected = [{"start_line": 2, "end_line": 2}] if number % 2 else []
        item = Input(name, "\n".join(CODE), path="src/app.py")
        said = judged(name, 2, 6 if number % 2 else 5, title=f"Other words {night}")
        review = {"input_id": name, "coverage": "complete", "comments": [asdict(said)], "calls": []}
        labels = [asdict(Expected(**one)) for one in expected]
        rows.append({"input": {**asdict(item), "expected": labels}, "review": review})
    paths.canaries.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return paths


def test_the_policy_is_chosen_by_one_half_and_tested_on_the_other(tmp_path: Path) -> None:
    """What was built in comes out: bugs from 7 on, style not before 10, and both halves are perfect."""
    found = calibrate([run(tmp_path / "run")], 0.95)
    assert found.then is not None
    assert found.then.min_score_of("bug", "high") == 7
    assert found.then.min_score_of("style", "low") > 6
    assert found.then.keep_uncertain_score == Policy().keep_uncertain_score
    for half in (found.chosen_by, found.held_out):
        assert half.inputs == 30
        assert (half.now.true, half.then.true, half.then.false) == (half.inputs, half.inputs, 0)
        assert half.now.false > half.inputs
    assert (found.shown_now, found.gone, found.come) == (150, 90, 0)


def test_the_curve_has_every_threshold(tmp_path: Path) -> None:
    """Precision rises and recall falls from 0 to 10."""
    curve = calibrate([run(tmp_path / "run")], 0.95).curve
    assert [score for score, _ in curve] == list(range(11))
    counts = [(one.true, one.false) for _, one in curve]
    assert counts[4:9] == [(60, 90), (60, 30), (60, 30), (60, 0), (0, 0)]


def test_canaries_of_many_nights_are_labels_as_well(tmp_path: Path) -> None:
    """By place, whatever is said there; the same canary is on the same side in every night."""
    nights = [canary_night(tmp_path / f"night-{night}", night) for night in range(8)]
    found = calibrate(nights, 0.95)
    assert found.then is not None
    assert found.then.min_score_of("bug", "high") == 6
    assert (found.chosen_by.inputs, found.held_out.inputs) == (8 * 6, 8 * 6)
    assert found.chosen_by.then.false == 0
    assert found.shown_now == 0


def test_the_command_prints_and_writes_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into a review.toml in place of its own table; the rest stays, and the result can be used."""
    target = tmp_path / "review.toml"
    target.write_text(f"{STRICT}\n# prices of this year\n[prices.m]\ninput = 1\noutput = 2\n")
    places = [str(run(tmp_path / "run").root), str(tmp_path / "none")]
    assert main(["calibrate", *places, "--precision", "0.95", "--write", str(target)]) == 0
    printed = capsys.readouterr()
    assert "min_score = " in printed.out
    assert "Of 150 findings that are shown now, 90 would go, and 0 would come" in printed.out
    assert f"note: {tmp_path / 'none'} has no finished run" in printed.err
    written = load_settings(target.read_text())
    assert written.policy.min_score_of("bug", "high") == 7
    assert written.prices["m"].output == 2
    assert "# prices of this year\n[prices.m]" in target.read_text()


def test_a_precision_that_cannot_be_reached_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, the curve all the same, and nothing is written."""
    reviews = [
        (replace(item, expected=()), comments, calls)
        for item, comments, calls in map(labelled, range(8))
    ]
    paths, _ = write_run(tmp_path / "run", reviews, settings=SETTINGS)
    target = tmp_path / "policy.toml"
    assert main(["calibrate", str(paths.root), "--write", str(target)]) == 3
    assert "No scores reach a precision of 80%" in capsys.readouterr().out
    assert not target.exists()


def test_a_run_without_labels_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the two ways to get some."""
    paths, _ = write_run(tmp_path / "run", [(Input("a", "x\n"), [], [])], settings=SETTINGS)
    assert main(["calibrate", str(paths.root)]) == 2
    assert (
        "give rows of the source a field `expected`, or plant [canaries]" in capsys.readouterr().err
    )


@pytest.mark.parametrize("text", ["", 'mode = "check"', "[git]\ncontext = 3\n"])
def test_a_table_that_was_not_there_is_added(text: str) -> None:
    """A new file has the table alone."""
    policy = Policy(min_score=3, min_scores={"style": 8, "bug/low": 7})
    written = with_policy(text, policy, "f.toml")
    assert written.endswith(policy_toml(policy))
    assert written.startswith(text)
    assert 'min_scores = { style = 8, "bug/low" = 7 }' in written


def test_a_policy_in_another_form_is_not_guessed_at() -> None:
    """An inline table would be there twice."""
    with pytest.raises(ConfigError, match="write it as a table"):
        with_policy("policy = { min_score = 3 }\n", Policy(), "f.toml")
    with pytest.raises(ConfigError, match="not valid TOML"):
        with_policy("[[", Policy(), "f.toml")
