"""A review on a pull request: comments only where GitHub takes them, the rest in the body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from tasks.core.cells import RunCounts
from tasks.core.errors import OutputError
from tasks.core.records import Comment
from tasks.finished.export.github import github_review
from tests.factories import comment, findings, manifest_of

HEAD = "1" * 40


def diff(context: int = 10) -> str:
    """Line 21 of 40 is changed, 12 added behind 33; as git shows it with so much context."""
    head = "diff --git a/src/app.py b/src/app.py\n--- a/src/app.py\n+++ b/src/app.py\n"
    first = [f" line {n}" for n in range(21 - context, 21)]
    middle = ["-line 21", "+changed", *(f" line {n}" for n in range(22, 34)), "+more", "+and more"]
    last = [f" line {n}" for n in range(34, 34 + context)]
    old, new = context + 13 + context, context + 15 + context
    at = 21 - context
    return head + "\n".join([f"@@ -{at},{old} +{at},{new} @@", *first, *middle, *last]) + "\n"


def made(
    *comments: Comment, most: int = 20, content: str = "", kind: str = "diff", **facts: Any
) -> dict[str, Any]:
    """The review of one input with these comments."""
    entry = {"a": {"content": content or diff(), "kind": kind, "path": "src/app.py"}}
    manifest = manifest_of(RunCounts()) | facts
    pieces = github_review(
        manifest,  # type: ignore[arg-type]
        [findings(*comments, kind=kind)],
        [orjson.dumps(entry)],
        most,
    )
    review: dict[str, Any] = orjson.loads(b"".join(pieces))
    return review


def kept(line: int, end: int | None = None, **fields: Any) -> Comment:
    more = {"outcome": "kept", "comment_id": f"c{line}-{fields.get('side', 'right')}"} | fields
    return comment(line=line, **{"end_line": end or line} | more)


def lines(review: dict[str, Any]) -> list[int]:
    return sorted(one["line"] for one in review["comments"])


@pytest.mark.parametrize(
    ("shown", "hidden"),
    [((18, 21, 24), (17, 25)), ((31, 34, 35, 38), (30, 39))],
)
def test_only_lines_that_githubs_diff_shows(shown: Sequence[int], hidden: Sequence[int]) -> None:
    """Three lines around each change, whatever context the run was made with; the others in the body."""
    review = made(*(kept(line) for line in (*shown, *hidden)))
    assert lines(review) == list(shown)
    for line in hidden:
        assert f"src/app.py, line {line}: Loop runs past the end" in review["body"]
    assert "5 high; 3 at" in review["body"] or "6 high; 4 at" in review["body"]


def test_a_range_is_in_one_hunk() -> None:
    """From a shown line to another one over lines that are not shown: GitHub would refuse the review."""
    review = made(kept(21, 24), kept(22, 34), kept(34, 35))
    assert [(one["start_line"], one["line"], one["start_side"]) for one in review["comments"]] == [
        (21, 24, "RIGHT"),
        (34, 35, "RIGHT"),
    ]
    assert "lines 22-34" in review["body"]


def test_a_removed_line_is_on_the_left() -> None:
    """By its old number; around an addition the left side is shown as well."""
    review = made(*(kept(line, side="left") for line in (21, 33, 36, 37)))
    assert [(one["line"], one["side"]) for one in review["comments"]] == [
        (21, "LEFT"), (33, "LEFT"), (36, "LEFT"),
    ]  # fmt: skip
    assert "removed line 37" in review["body"]


def test_one_line_is_no_range() -> None:
    """GitHub refuses a start_line that does not precede the line."""
    (only,) = made(kept(21))["comments"]
    assert "start_line" not in only
    assert "start_side" not in only


def test_the_worst_are_at_their_lines_and_the_rest_is_in_the_body() -> None:
    """At most so many; the review never approves or blocks, and names the commit it is of."""
    commits = {"base": "0" * 40, "head": HEAD, "commits": 1, "files": 1, "note": None}
    review = made(
        kept(20, severity="low"), kept(21, severity="critical"), kept(22), most=2, commits=commits
    )
    assert lines(review) == [21, 22]
    assert "- **low** src/app.py, line 20" in review["body"]
    assert (review["event"], review["commit_id"]) == ("COMMENT", HEAD)
    assert "commit_id" not in made(kept(21))
    assert made(kept(21), most=0)["comments"] == []


def test_a_body_stays_below_githubs_limit() -> None:
    """Long titles of many findings are counted instead."""
    many = [
        kept(1, comment_id=f"c{n}", title="x" * 79, path=f"src/{'deep/' * 200}{n}.py")
        for n in range(150)
    ]
    review = made(*many)
    assert len(review["body"]) < 65_536
    assert "more." in review["body"]


def test_a_snippet_has_no_diff() -> None:
    """All of its findings are in the body."""
    review = made(kept(2), content="a\nb\n", kind="snippet")
    assert review["comments"] == []
    assert "src/app.py, line 2" in review["body"]


def test_what_a_model_wrote_mentions_nobody_and_links_nothing() -> None:
    """No person or team is told, no issue is referred to, no HTML or heading survives; code spans do."""
    text = "# Hi @octocat and @org/team, see #12 and GH-34 <img src=x> `@decorator`"
    (one,) = made(kept(21, message=text, title="@octocat #7"))["comments"]
    for link in ("@octocat", "@org", "#12", "#7", "GH-34", "<img"):
        assert link not in one["body"].replace("\\<img", "")
    assert "`@decorator`" in one["body"]
    assert "\n# Hi" not in one["body"]


def test_a_suggestion_replaces_exactly_its_lines() -> None:
    """Only where the quote was found; fences inside do not end it."""
    fix = "```\nx = 1\n"
    (one,) = made(kept(21, loc_method="exact", suggestion=fix))["comments"]
    assert one["body"].endswith("\n````suggestion\n```\nx = 1\n````\n")
    (one,) = made(kept(21, loc_method="lines", suggestion=fix))["comments"]
    assert "suggestion" not in one["body"]


def test_tables_of_another_run_are_refused() -> None:
    """Lines of one diff and findings of another would be comments at random places."""
    with pytest.raises(OutputError, match="of another run"):
        list(github_review(manifest_of(RunCounts()), [findings(kept(21))], [b'{"b":{}}']))  # type: ignore[arg-type]


def test_nothing_found_is_a_review_that_says_so() -> None:
    """No comment, and a body, which GitHub requires."""
    review = made()
    assert review["comments"] == []
    assert review["body"].startswith("**0 findings**; 0 at their lines.")
