"""What the sandbox answers: a reviewer of known skill, on the project's own prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from deployments.sandbox import Sandbox
from tasks.core.records import CATEGORIES, SEVERITIES, Comment, Input
from tasks.review.inputs.render import render_input
from tasks.review.prompts import check_messages, review_messages

DIFF = """\
diff --git a/src/cart.py b/src/cart.py
--- a/src/cart.py
+++ b/src/cart.py
@@ -7,4 +7,5 @@ class Cart:
 def mean(prices):
-    return 0
+    total = sum(prices)
+    return total / len(prices)

 def size(self):
"""
ADDED = {8: "    total = sum(prices)", 9: "    return total / len(prices)"}
SOURCE = Input("cart", DIFF, kind="diff", title="Mean price")
SNIPPET = Input("walk", "def walk(n):\n    return walk(n - 1)\n", path="src/walk.py")


def rendered(source: Input) -> str:
    """The only part of a small input."""
    (part,) = render_input(source, 10_000, len).parts
    return part


def comment(comment_id: str, message: str) -> Comment:
    """A comment to judge."""
    return Comment(
        comment_id=comment_id,
        fingerprint="f",
        check_model="mini",
        path="src/cart.py",
        side="right",
        start_line=9,
        end_line=9,
        loc_method="exact",
        category="bug",
        severity="high",
        confidence=0.9,
        title="Mean of nothing",
        message=message,
        rationale=None,
        existing_code=ADDED[9],
        suggestion=None,
    )


@pytest.fixture
def answer(sandbox: Sandbox, ask: Any) -> Any:
    """Send messages to a model and read the JSON of its answer."""
    _ = sandbox

    def send(messages: Sequence[Mapping[str, str]], model: str = "m", **body: Any) -> Any:
        response = ask(messages=list(messages), model=model, **body)
        return json.loads(response.json()["choices"][0]["message"]["content"])

    return send


def test_comments_quote_the_code_under_review(answer: Any) -> None:
    """Comments are whole, and quote added lines with their numbers and path."""
    seen = []
    for n in range(12):
        source = Input(f"cart-{n}", DIFF, kind="diff", title=f"Mean price {n}")
        seen.append(answer(check_messages(source, rendered(source)))["comments"])
    assert {len(comments) for comments in seen} >= {0, 1}
    for found in (one for comments in seen for one in comments):
        assert ADDED[found["start_line"]] == found["existing_code"]
        assert found["path"] == "src/cart.py"
        assert found["category"] in CATEGORIES
        assert found["severity"] in SEVERITIES
        assert 0 <= found["confidence"] <= 1


def test_snippets_have_their_path_from_the_header(answer: Any) -> None:
    """A snippet's path stands in the JSON line above it."""
    seen = []
    for n in range(12):
        source = Input("walk", SNIPPET.content, path="src/walk.py", title=str(n))
        seen += answer(check_messages(source, rendered(source)))["comments"]
    assert {found["path"] for found in seen} == {"src/walk.py"}
    assert {found["start_line"] for found in seen} <= {1, 2}


def test_same_question_same_answer(answer: Any) -> None:
    """An answer depends on the messages and the model, and on nothing else."""
    messages = check_messages(SOURCE, rendered(SOURCE))
    assert answer(messages) == answer(messages)
    models = {json.dumps(answer(messages, model=f"m{n}")) for n in range(8)}
    assert len(models) > 1


def test_one_verdict_for_each_comment(answer: Any) -> None:
    """Ids come from the comments, not from code that speaks of ids; decisions are mixed."""
    hostile = Input("trap", SNIPPET.content + 'x = {"comment_id": "deadbeef"}\n', path="a.py")
    comments = [comment(f"{n:064x}", f"claim {n}") for n in range(20)]
    messages = review_messages(hostile, rendered(hostile), comments)
    verdicts = answer(messages)["verdicts"]
    assert [v["comment_id"] for v in verdicts] == [f"c{n}" for n in range(1, 21)]
    assert {v["decision"] for v in verdicts} == {"confirmed", "rejected", "uncertain"}
    assert all(v["evidence"] in hostile.content for v in verdicts)


def test_a_verdict_is_of_the_comment_and_not_of_its_name(answer: Any) -> None:
    """The same comment is judged alike alone and among others, whatever it is called there."""
    comments = [comment(f"{n:064x}", f"claim {n}") for n in range(6)]
    together = answer(review_messages(SOURCE, rendered(SOURCE), comments))["verdicts"]
    for among, one in zip(together, comments, strict=True):
        (alone,) = answer(review_messages(SOURCE, rendered(SOURCE), [one]))["verdicts"]
        assert alone["comment_id"] == "c1"
        assert alone["decision"] == among["decision"]


@pytest.mark.parametrize(
    ("name", "expected"), [("review_comments", "comments"), ("review_verdicts", "verdicts")]
)
def test_the_schemas_name_wins(answer: Any, name: str, expected: str) -> None:
    """With a schema the shape follows its name, whatever the text says."""
    schema = {"type": "json_schema", "json_schema": {"name": name, "schema": {}}}
    messages = [{"role": "user", "content": 'Say {"verdicts": []} or {"comments": []}.'}]
    assert answer(messages, response_format=schema) == {expected: []}


def test_silent_model(sandbox: Sandbox, answer: Any) -> None:
    """A silent model has no comments and confirms nothing."""
    sandbox.control(models={"quiet": {"skill": "silent"}})
    for n in range(6):
        source = Input("cart", DIFF, kind="diff", title=f"Mean price {n}")
        assert answer(check_messages(source, rendered(source)), "quiet") == {"comments": []}
    reviewed = review_messages(SOURCE, rendered(SOURCE), [comment("a" * 64, "claim")])
    assert [v["decision"] for v in answer(reviewed, "quiet")["verdicts"]] == ["uncertain"]


def test_scripted_comments(sandbox: Sandbox, answer: Any) -> None:
    """A model of known skill says what its table says, and nothing where it says nothing."""
    known = {
        "existing_code": ADDED[9],
        "start_line": 9,
        "severity": "high",
        "title": "Mean of none",
    }
    answers = [{"match": "Mean price", "comments": [known]}]
    sandbox.control(models={"expert": {"skill": "scripted"}}, answers=answers)
    (found,) = answer(check_messages(SOURCE, rendered(SOURCE)), "expert")["comments"]
    assert known.items() <= found.items()
    assert found["category"] in CATEGORIES
    assert answer(check_messages(SNIPPET, rendered(SNIPPET)), "expert") == {"comments": []}


def test_scripted_verdicts(sandbox: Sandbox, answer: Any) -> None:
    """Verdicts are chosen by id, by a text of the comment, or for all; one can be left out."""
    rules = [
        {"comment_id": "c1", "decision": "rejected", "score": 0},
        {"about": "second claim", "decision": "confirmed", "score": 10},
        {"about": "third claim", "omit": True},
        {"decision": "uncertain"},
    ]
    sandbox.control(answers=[{"model": "judge", "verdicts": rules}])
    claims = ("first claim", "second claim", "third claim", "fourth claim")
    comments = [comment(letter * 64, text) for letter, text in zip("abcd", claims, strict=True)]
    verdicts = answer(review_messages(SOURCE, rendered(SOURCE), comments), "judge")["verdicts"]
    assert [(v["comment_id"], v["decision"]) for v in verdicts] == [
        ("c1", "rejected"),
        ("c2", "confirmed"),
        ("c4", "uncertain"),
    ]


def test_scripted_content_is_taken_as_it_is(sandbox: Sandbox, ask: Any) -> None:
    """Any text can be an answer, to any prompt."""
    sandbox.control(answers=[{"model": "m", "match": "hello", "content": "<think>no</think>{}"}])
    message = ask("hello there").json()["choices"][0]["message"]
    assert message["content"] == "<think>no</think>{}"
