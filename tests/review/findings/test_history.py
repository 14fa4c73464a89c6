"""New, recurring, dropped, gone and unknown, on inputs built for each."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.review.findings.history import (
    Earlier,
    HistoryComparison,
    carried_findings,
    carried_name,
    earlier_findings,
)

CODE = "def f(x):\n    return x + 1\n\n\ndef g(y):\n    return y / 0\n"


def snippet(name: str = "a", path: str | None = "a.py", content: str = CODE) -> dict[str, Any]:
    """An input as stored."""
    return {"input_id": name, "content": content, "kind": "snippet", "path": path, "extra": {}}


def diff(body: str, base: str | None = None) -> dict[str, Any]:
    """A diff of a.py with these lines in its only hunk."""
    content = f"--- a/a.py\n+++ b/a.py\n@@ -1,9 +1,9 @@\n{body}"
    extra = {} if base is None else {"base_commit": base}
    return {"input_id": "d", "content": content, "kind": "diff", "path": None, "extra": extra}


def raised(name: str, **fields: Any) -> dict[str, Any]:
    """One stored comment, a finding of its own."""
    given = {"path": "a.py", "outcome": "kept", "cluster_id": f"c-{name}", "age": None}
    return {"fingerprint": name, "existing_code": "    return y / 0", **given, **fields}


def review(*comments: dict[str, Any], coverage: str = "complete", **fields: Any) -> dict[str, Any]:
    """One stored review."""
    given = {"input_id": "a", "extra": {}, "coverage": coverage, "comments": list(comments)}
    return given | fields


def before(*reviews: dict[str, Any]) -> dict[str, Earlier]:
    """What the earlier run showed."""
    return dict(pair for one in reviews for pair in earlier_findings(one))


def counts(comparison: HistoryComparison) -> dict[str, int]:
    """Without the zeros."""
    return {name: count for name, count in comparison.counts().items() if count}


def test_new_recurring_and_gone() -> None:
    """Each comment gets its age, each finding is counted once."""
    comparison = HistoryComparison(before(review(raised("x"), raised("y"))))
    current = review(raised("y"), raised("z"))
    comparison.add(snippet(), current)
    assert [one["age"] for one in current["comments"]] == ["recurring", "new"]
    assert counts(comparison) == {"new": 1, "recurring": 1, "gone": 1}
    assert comparison.gone == {"c-x"}


def test_since_goes_back_to_the_first_run() -> None:
    """A finding keeps the start of the run that showed it first; one of the last run takes that run's."""
    earlier = review(raised("x"), raised("y", since="2026-11-01T01:30:00+00:00"))
    comparison = HistoryComparison(before(earlier), "2026-11-20T01:30:00+00:00")
    current = review(raised("x"), raised("y"), raised("z"))
    comparison.add(snippet(), current)
    assert [one["since"] for one in current["comments"]] == [
        "2026-11-20T01:30:00+00:00",
        "2026-11-01T01:30:00+00:00",
        None,
    ]


def test_a_finding_is_its_cluster() -> None:
    """One fingerprint in common is enough, and makes all its comments recur."""
    earlier = review(raised("x", cluster_id="1"), raised("y", cluster_id="1"))
    comparison = HistoryComparison(before(earlier))
    current = review(raised("y", cluster_id="2"), raised("z", cluster_id="2"))
    comparison.add(snippet(), current)
    assert {one["age"] for one in current["comments"]} == {"recurring"}
    assert counts(comparison) == {"recurring": 1}


def test_only_what_was_shown_counts() -> None:
    """A comment that the earlier run dropped is news when it is kept now."""
    comparison = HistoryComparison(before(review(raised("x", outcome="dropped"))))
    current = review(raised("x"))
    comparison.add(snippet(), current)
    assert current["comments"][0]["age"] == "new"
    assert counts(comparison) == {"new": 1}


def test_dropped_is_not_gone() -> None:
    """What is raised and no longer kept was not fixed."""
    comparison = HistoryComparison(before(review(raised("x"))))
    comparison.add(snippet(), review(raised("x", outcome="dropped")))
    assert counts(comparison) == {"dropped": 1}


@pytest.mark.parametrize("coverage", ["partial", "failed", "skipped"])
def test_what_was_not_reviewed_is_unknown(coverage: str) -> None:
    """An input that failed in this run has lost no finding, nor has one that is not there."""
    comparison = HistoryComparison(before(review(raised("x"), raised("y", path="b.py"))))
    comparison.add(snippet(), review(coverage=coverage))
    assert counts(comparison) == {"unknown": 2}


def test_an_input_without_a_path_is_known_by_its_id() -> None:
    """Rows of a data set need no path to have a history."""
    comparison = HistoryComparison(before(review(raised("x", path=None), input_id="row 1")))
    comparison.add(snippet("row 2", path=None), review())
    assert counts(comparison) == {"unknown": 1}
    comparison.add(snippet("row 1", path=None), review())
    assert counts(comparison) == {"gone": 1}


@pytest.mark.parametrize(
    ("body", "end"),
    [
        ("-    return y / 0\n+    return y / 1\n", "gone"),
        ("+    return y / 0\n", "gone"),
        ("+  return y/0\n", "gone"),
        ("     return y / 0\n+    pass\n", "unknown"),
        ("+    return 7\n", "unknown"),
    ],
)
def test_a_diff_tells_of_its_changed_lines_only(body: str, end: str) -> None:
    """Removed or looked at again and no longer raised: gone. Context or out of sight: unknown."""
    comparison = HistoryComparison(before(review(raised("x"))))
    comparison.add(diff(body), review())
    assert counts(comparison) == {end: 1}


@pytest.mark.parametrize(("base", "end"), [("123", "gone"), ("456", "unknown")])
def test_a_diff_from_the_same_commit_is_its_whole_file(base: str, end: str) -> None:
    """The net change since one commit has every line that the earlier run saw, or it is gone."""
    comparison = HistoryComparison(before(review(raised("x"), extra={"base_commit": "123"})))
    comparison.add(diff("+    return 7\n", base), review())
    assert counts(comparison) == {end: 1}


def test_a_repaired_twin_does_not_rename_the_other() -> None:
    """Of two equal quotes the first is repaired: the second recurs, and the first is the one gone."""
    comparison = HistoryComparison(before(review(raised("f-aaa"), raised("f-bbb"))))
    current = review(raised("f-bbb"))
    comparison.add(snippet(), current)
    assert counts(comparison) == {"recurring": 1, "gone": 1}
    assert comparison.gone == {"c-f-aaa"}


def test_an_edit_next_to_it_makes_no_news() -> None:
    """The code around names it no more; its kin at the same place does, once for each."""
    comparison = HistoryComparison(before(review(raised("f-aaa"), raised("g-ccc"))))
    current = review(raised("f-bbb"), raised("f-ddd"), raised("h-ccc"))
    comparison.add(snippet(), current)
    assert [one["age"] for one in current["comments"]] == ["recurring", "new", "new"]
    assert comparison.gone == {"c-g-ccc"}


def test_kin_of_another_place_is_none() -> None:
    """Equal quotes of inputs without a path have the same kin."""
    comparison = HistoryComparison(before(review(raised("f-aaa", path=None), input_id="other")))
    current = review(raised("f-bbb", path=None))
    comparison.add(snippet(path=None), current)
    assert counts(comparison) == {"new": 1, "unknown": 1}


def test_names_of_earlier_versions_recur() -> None:
    """They counted equal quotes: the first run after an upgrade finds its findings again."""
    comparison = HistoryComparison(before(review(raised("f"), raised("f-2"))))
    current = review(raised("f-aaa"), raised("f-bbb"))
    comparison.add(snippet(), current)
    assert counts(comparison) == {"recurring": 2}


def test_a_file_that_is_not_there_any_more() -> None:
    """Nobody can review it, and what it had is gone."""
    comparison = HistoryComparison(before(review(raised("x"), raised("y", path="b.py"))))
    comparison.leave("b.py")
    assert counts(comparison) == {"gone": 1, "unknown": 1}


def test_carried_findings_are_compared() -> None:
    """One that an earlier run showed and nobody looked at since recurs, or is gone, like any other."""
    stored = [raised("x"), raised("y"), raised("z", path="b.py")]
    comparison = HistoryComparison(dict(map(carried_findings, stored)))
    comparison.add(snippet(), review(raised("x")))
    assert counts(comparison) == {"recurring": 1, "gone": 1, "unknown": 1}
    assert comparison.unknown == {carried_name(stored[2])}


def test_equal_findings_of_two_repositories_are_two() -> None:
    """The same file, quote and fingerprint: what happens to one says nothing of the other."""
    old = [
        review(raised("x-1", cluster_id=f"c-{name}"), input_id=f"{name}//a.py@1")
        for name in ("shop", "api", "lib")
    ]
    carried = raised("y", input_id="lib//b.py@1") | {"path": "b.py"}
    comparison = HistoryComparison(before(*old) | dict([carried_findings(carried)]))
    again = review(raised("x-2", cluster_id="n"), input_id="shop//a.py@2")
    comparison.add(snippet("shop//a.py@2"), again)
    assert [one["age"] for one in again["comments"]] == ["recurring"]
    comparison.add(snippet("api//a.py@2"), review(input_id="api//a.py@2"))
    assert comparison.gone == {"c-api"}
    assert comparison.unknown == {"c-lib", carried_name(carried)}
    comparison.leave("lib//b.py")
    comparison.leave("a.py")
    assert comparison.unknown == {"c-lib"}
    assert counts(comparison) == {"recurring": 1, "gone": 2, "unknown": 1}
