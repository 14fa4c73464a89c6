"""Failed calls in groups, and their sentences."""

from __future__ import annotations

from tasks.core.failures import Failures, failure_sentence
from tasks.core.upstream_facts import FailureFacts


def _call(reason: str | None, said: str | None = None, **more: object) -> dict[str, object]:
    given = {"status": "failed", "model": "m", "endpoint": "http://e", "parse_mode": None}
    return given | {"reason": reason, "raw_snippet": said} | more


def test_each_reason_has_its_count_and_one_example() -> None:
    """By reason, endpoint and model, the largest group first; good calls are no failures."""
    found = Failures()
    found.add([_call("unknown_model"), _call("unknown_model", "unknown_model:\n no m here")])
    found.add([_call("unknown_model", "another"), _call("timeout"), _call(None, status="ok")])
    one, two = found.facts()
    assert (one["calls"], one["said"], two["calls"], two["said"]) == (
        *(3, "unknown_model: no m here"),
        *(1, ""),
    )
    assert failure_sentence(one) == '3 x unknown_model, m at http://e: "no m here"'
    assert failure_sentence(two) == "1 x timeout, m at http://e"


def test_a_call_without_endpoint_says_less() -> None:
    """A cell of a lost shard has neither model nor endpoint."""
    found = Failures()
    found.add([{"status": "failed", "reason": "shard_lost"}])
    assert failure_sentence(found.facts()[0]) == "1 x shard_lost"


def test_a_reply_is_not_repeated_and_words_are_short() -> None:
    """Of a reply nobody could read the sentence has the reason; a page of words is cut."""
    found = Failures()
    found.add([_call("unparseable", "def secret", parse_mode="failed"), _call("x", "w" * 900)])
    reply, long = (failure_sentence(one) for one in found.facts())
    assert "secret" not in reply
    assert len(long) < 340


def test_the_manifest_has_them_as_json() -> None:
    """The record is what its type says."""
    found = Failures()
    found.add([_call("x", "y")])
    assert set(found.facts()[0]) == set(FailureFacts.__annotations__)
