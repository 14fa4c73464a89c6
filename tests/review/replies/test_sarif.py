"""SARIF as programs write it: odd places, rules by index, several runs; and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ReplyError
from tasks.review.places.tool_places import common_root, relative_path
from tasks.review.replies.sarif import SarifFinding, read_sarif

ODD = (Path(__file__).parents[2] / "data" / "cases" / "sarif" / "odd.sarif").read_bytes()


def _one(result: dict[str, Any], **run: Any) -> SarifFinding:
    """The finding of a run with one result."""
    (finding,) = read_sarif(json.dumps({"runs": [{"results": [result], **run}]}).encode()).findings
    return finding


def _result(uri: str, **more: Any) -> dict[str, Any]:
    place = {"physicalLocation": {"artifactLocation": {"uri": uri}}}
    return {"message": {"text": "m"}, "locations": [place]} | more


def test_odd_shapes() -> None:
    """One file of two tools: no region, file URLs, Windows paths, rules by index, what is no finding."""
    log = read_sarif(ODD)
    found = [
        (
            one.path,
            one.rule,
            one.raw.start_line,
            one.raw.end_line,
            one.raw.severity,
            one.raw.category,
        )
        for one in log.findings
    ]
    assert found == [
        ("src/no region.py", "R1", None, None, "low", "maintainability"),
        ("/home/ci/src/a.py", "R2", 3, 4, "critical", "security"),
        ("C:/ci/src/b.py", "R2", 7, 7, "critical", "security"),
        ("src/c.py", "", 2, 2, "medium", "maintainability"),
        ("src/d.py", "X1", 9, 9, "high", "bug"),
        ("lib/e.py", "X1/sub", 1, 1, "high", "bug"),
    ]
    messages = [one.raw.message for one in log.findings]
    assert messages[1] == "Value user reaches {sink}"
    assert messages[4] == "It is None here"
    assert log.findings[1].raw.existing_code == "run(user)"
    assert log.dropped == 2
    assert log.failure is None


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("a.py", "a.py"),
        ("./x/../a.py", "a.py"),
        ("file:///w/a%20b.py", "/w/a b.py"),
        ("file:/w/a.py", "/w/a.py"),
        ("file://host/w/a.py", "/w/a.py"),
        ("file:///D:/w/a.py", "D:/w/a.py"),
        ("D:\\w\\a.py", "D:/w/a.py"),
        ("x\\a.py", "x/a.py"),
    ],
)
def test_paths(uri: str, path: str) -> None:
    """Every way of writing a place leads to one path with slashes."""
    assert _one(_result(uri)).path == path


def test_bases_are_followed_and_a_circle_of_them_ends() -> None:
    """A URI is below its base, that one below another; the root that nobody names is left out."""
    place = {"uri": "a.py", "uriBaseId": "SRC"}
    result = _result("") | {"locations": [{"physicalLocation": {"artifactLocation": place}}]}
    bases = {"SRC": {"uri": "src/", "uriBaseId": "ROOT"}, "ROOT": {"uri": "file:///w/"}}
    assert _one(result, originalUriBaseIds=bases).path == "/w/src/a.py"
    assert _one(result).path == "a.py"
    circle = {"SRC": {"uri": "src/", "uriBaseId": "SRC"}}
    assert _one(result, originalUriBaseIds=circle).path.endswith("src/a.py")


def test_a_tool_that_says_that_it_failed() -> None:
    """Its notification is the reason, with and without results."""
    note = {"message": {"text": "cannot parse the configuration"}}
    bad = {"executionSuccessful": False, "toolExecutionNotifications": [note]}
    log = read_sarif(json.dumps({"runs": [{"invocations": [bad]}]}).encode())
    assert log.failure == "cannot parse the configuration"


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '{"runs": {}}', "<xml/>", '{"runs": [', "\ufeff\x00"]
)
def test_what_is_no_sarif(text: str) -> None:
    """It is an error, and never a file without findings."""
    with pytest.raises(ReplyError) as caught:
        read_sarif(text.encode())
    assert caught.value.code == "unreadable_sarif"


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, [None], [[]], {"a": 1}, True])
@pytest.mark.parametrize("field", ["message", "locations", "ruleIndex", "rule", "level", "kind"])
def test_any_value_in_any_field_ends(field: str, value: Any) -> None:
    """Wrong types cost the field, or the result, and not the file."""
    good = _result("good.py")
    text = json.dumps({"runs": [1, {"results": [_result("a.py") | {field: value}, good]}]})
    assert read_sarif(text.encode()).findings[-1].path == "good.py"


def test_the_root_of_another_machine_is_found_by_most_paths() -> None:
    """The folder below which most paths are inputs is taken off; one look-alike does not decide."""
    known = {"src/a.py": 1, "src/b.py": 1, "a.py": 1}
    paths = ["/ci/repo/src/a.py", "/ci/repo/src/b.py", "/usr/lib/x.py", "src/a.py"]
    root = common_root(paths, known)
    assert root == "/ci/repo/"
    assert [relative_path(path, root) for path in paths] == [
        "src/a.py",
        "src/b.py",
        None,
        "src/a.py",
    ]
    assert common_root(["/elsewhere/z.py"], known) == ""
