"""What one input goes through, on a real upstream: formats, re-asks, verdicts, coverage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deployments.sandbox import Sandbox
from tests.infer.area import ADDS, ASSIGNS, BOTH, CHECK, CODE, ROW, SCRIPTED, TWO

Reviewer = Callable[..., list[dict[str, Any]]]


def test_check_mode_makes_no_review_call(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """In mode "check" comments are unverified and no review cell exists."""
    sandbox.control(models=SCRIPTED, answers=[{"comments": [ADDS]}])
    (review,) = review_rows([ROW], CHECK)
    assert [call["stage"] for call in review["calls"]] == ["check"]
    assert [one["outcome"] for one in review["comments"]] == ["unverified"]
    assert review["coverage"] == "complete"


def test_nothing_found_needs_no_review(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """Zero comments make no review call; the cell is skipped, the input complete."""
    sandbox.control(models={"c1": {"skill": "silent"}})
    (review,) = review_rows([ROW], BOTH)
    ends = [(call["stage"], call["status"], call["reason"]) for call in review["calls"]]
    assert ends == [("check", "ok", None), ("review", "skipped", "no_comments")]
    assert review["coverage"] == "complete"
    assert sandbox.stats()["requests"] == 1


def test_verdicts_decide(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """A confirmed comment is kept, a rejected one dropped with its verdict beside it."""
    sandbox.control(
        models=SCRIPTED,
        answers=[
            {"model": "c1", "comments": [ADDS, ASSIGNS]},
            {
                "model": "r1",
                "verdicts": [
                    {"about": "Area adds", "decision": "confirmed", "score": 9},
                    {"about": "Assignment", "decision": "rejected", "score": 0, "reason": "no"},
                ],
            },
        ],
    )
    (review,) = review_rows([ROW], BOTH)
    found = {one["title"]: one for one in review["comments"]}
    assert found["Area adds"]["outcome"] == "kept"
    assert found["Area adds"]["loc_method"] == "exact"
    dropped = found["Assignment in a condition"]
    assert (dropped["outcome"], dropped["drop_reason"]) == ("dropped", "rejected")
    assert dropped["verdict"]["reason"] == "no"


def test_a_missing_verdict_is_asked_for_again(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """A verdict that the reply left out is asked for singly; still missing, the comment is unverified."""
    omitted = {"about": "Assignment", "omit": True}
    sandbox.control(
        models=SCRIPTED,
        answers=[
            {"model": "c1", "comments": [ADDS, ASSIGNS]},
            {
                "model": "r1",
                "verdicts": [{"about": "Area adds", "decision": "confirmed", "score": 9}, omitted],
            },
        ],
    )
    (review,) = review_rows([ROW], BOTH)
    found = {one["title"]: one for one in review["comments"]}
    assert found["Area adds"]["outcome"] == "kept"
    lost = found["Assignment in a condition"]
    assert (lost["outcome"], lost["verdict"]["status"]) != ("kept", "ok")
    assert lost["outcome"] == "unverified"
    assert sandbox.stats()["requests"] >= 3


def test_two_checks_with_one_finding_are_one_cluster(
    sandbox: Sandbox, review_rows: Reviewer
) -> None:
    """Both comments stay, share a cluster, and with scope "canonical" one verdict serves both."""
    sandbox.control(
        models=SCRIPTED,
        answers=[
            {"model": "c1", "comments": [ADDS]},
            {"model": "c2", "comments": [ADDS | {"title": "Sum instead of product"}]},
            {"model": "r1", "verdicts": [{"decision": "confirmed", "score": 8}]},
        ],
    )
    (review,) = review_rows([ROW], TWO + 'scope = "canonical"\n')
    assert [one["agreement"] for one in review["comments"]] == [2, 2]
    assert len({one["cluster_id"] for one in review["comments"]}) == 1
    assert {one["verdict"]["decision"] for one in review["comments"]} == {"confirmed"}
    assert sandbox.stats()["requests"] == 3


def test_agreement_needs_no_review_when_told_so(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """With when = "disagreement" an agreed, mild finding costs no review call."""
    mild = ADDS | {"severity": "low"}
    sandbox.control(models=SCRIPTED, answers=[{"comments": [mild]}])
    (review,) = review_rows([ROW], TWO + 'when = "disagreement"\n')
    assert review["calls"][-1]["reason"] == "nothing_to_review"
    assert sandbox.stats()["requests"] == 2


def test_a_large_diff_takes_several_calls(review_rows: Reviewer) -> None:
    """A diff beyond the budget is split at hunks; what does not fit is named and the input in part."""
    hunks = "".join(
        f"@@ -{n * 100},1 +{n * 100},12 @@\n context\n"
        + "".join(f"+value_{n}_{k} = {k}\n" for k in range(11))
        for n in range(1, 8)
    )
    diff = f"diff --git a/v.py b/v.py\n--- a/v.py\n+++ b/v.py\n{hunks}"
    (review,) = review_rows(
        [{"input_id": "d", "content": diff}], "max_input_tokens = 250\n" + CHECK
    )
    assert [call["part"] for call in review["calls"]] == [0, 1, 2]
    assert review["coverage"] == "in_part"
    assert "left out: v.py:" in review["coverage_reason"]


@pytest.mark.parametrize("content", ["Binary files a/x and b/x differ\n"])
def test_nothing_reviewable_is_skipped_with_its_reason(
    sandbox: Sandbox, review_rows: Reviewer, content: str
) -> None:
    """A binary diff costs no call and says why."""
    diff = f"diff --git a/x b/x\nindex 1..2 100644\n{content}"
    (review,) = review_rows([{"input_id": "b", "content": diff, "kind": "diff"}], BOTH)
    assert (review["coverage"], review["coverage_reason"]) == ("skipped", "binary")
    assert {call["status"] for call in review["calls"]} == {"skipped"}
    assert sandbox.stats()["requests"] == 0


def test_rules_reach_both_models_and_the_journal(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """Another rule, or language, is another question: it is asked anew, and the same one is not."""
    sandbox.control(models=SCRIPTED, answers=[{"comments": [ADDS]}])
    ruled = BOTH + '[[rules]]\npaths = ["*.py"]\ntext = "Areas are integers."\n'
    versions, requests = [], []
    for config in (BOTH, ruled, ruled, 'language = "German"\n' + ruled):
        (review,) = review_rows([ROW], config)
        versions.append(tuple(call["prompt_sha256"] for call in review["calls"]))
        requests.append(sandbox.stats()["requests"])
    assert requests == [2, 4, 4, 6]
    assert versions[1] == versions[2]
    assert len({version for pair in versions for version in pair}) == 6


def test_equal_beginnings_are_cached(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """Most of what small inputs send is served from a cache that begins at 1,024 tokens; short, nothing is."""
    sandbox.control(models=SCRIPTED, answers=[{"comments": [ADDS]}], prompt_cache=True)
    rows = [{"input_id": f"r{n}", "content": CODE + f"x = {n}\n"} for n in range(10)]
    prices = "".join(
        f"[prices.{name}]\ninput = 1.0\noutput = 0\ncached = 0.1\n" for name in ("c1", "r1")
    )
    calls = {
        form: [
            call
            for review in review_rows(rows, text + BOTH + prices, threads=1)
            for call in review["calls"]
        ]
        for form, text in {"full": "", "short": 'prompt = "short"\n'}.items()
    }
    totals = {
        form: [
            sum(call[name] for call in found)
            for name in ("cached_tokens", "input_tokens", "cost_usd")
        ]
        for form, found in calls.items()
    }
    cached, sent, cost = totals["full"]
    assert [call["cached_tokens"] for call in calls["full"]].count(0) == 2
    assert cached / sent > 0.65
    assert cost == pytest.approx((sent - 0.9 * cached) / 1e6)
    assert totals["short"][0] == 0
    assert cost < totals["short"][2]


def test_beyond_the_hunk_only_changed_lines_count(sandbox: Sandbox, review_rows: Reviewer) -> None:
    """A finding on a line that was only shown is left out before it costs a review, and is counted."""
    content = "--- a/area.py\n+++ b/area.py\n@@ -1,4 +1,4 @@\n def area(w, h):\n     if w = 0:\n         return 0\n-    return w * h\n+    return w + h\n"
    row = {"input_id": "r", "content": content, "path": "area.py", "kind": "diff"}
    sandbox.control(
        models=SCRIPTED,
        answers=[{"model": "c1", "comments": [ASSIGNS, ADDS]}, {"model": "r1", "verdicts": []}],
    )
    (plain,) = review_rows([row], BOTH)
    (wide,) = review_rows([row], 'context = "file"\n' + BOTH)
    assert [one["title"] for one in plain["comments"]] == [ASSIGNS["title"], ADDS["title"]]
    assert [one["title"] for one in wide["comments"]] == [ADDS["title"]]
    assert (wide["comments"][0]["start_line"], wide["comments"][0]["loc_method"]) == (4, "exact")
    assert [review["calls"][0]["dropped_items"] for review in (plain, wide)] == [0, 1]
    assert plain["calls"][0]["prompt_sha256"] != wide["calls"][0]["prompt_sha256"]
