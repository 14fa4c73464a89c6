"""Replies as models really write them (tests/data/cases/replies), each with the right reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.errors import ReplyError
from tasks.review.replies.contract import asked_names
from tasks.review.replies.replies import parse_comments, parse_verdicts

CASES = Path(__file__).parents[2] / "data" / "cases" / "replies"
LOAD, SAVE, SEND = "src/load.py", "src/save.py", "src/send.py"


def _text(name: str) -> str:
    return (CASES / name).read_bytes().decode()


@pytest.mark.parametrize(
    ("name", "paths", "dropped"),
    [
        ("lists-by-file.txt", [LOAD, SAVE], 0),
        ("lists-by-severity.txt", [LOAD, SAVE, SEND], 0),
        ("lists-by-path.txt", [LOAD, SAVE, SAVE], 0),
        ("lists-alias-beside-empty.txt", [LOAD, SAVE], 0),
        ("lists-of-objects.txt", [LOAD, SAVE], 0),
        ("lists-one-fence-each.txt", [LOAD, SAVE], 0),
        ("lists-one-line-each.txt", [LOAD, SAVE, SEND], 0),
        ("lists-rejected-beside.txt", [LOAD], 1),
        ("draft-taken-back.txt", [SAVE], 1),
        ("thought-upper-case.txt", [], 0),
        ("thought-attributes.txt", [], 0),
        ("thought-twice.txt", [], 0),
        ("thought-brackets.txt", [], 0),
        ("thought-triangles.txt", [], 0),
        ("thought-namespace.txt", [], 0),
        ("thought-harmony.txt", [SAVE], 0),
        ("thought-harmony-stripped.txt", [], 0),
        ("thought-without-start.txt", [], 0),
        ("thought-in-a-string.txt", ["tags.py", SAVE], 0),
        ("python-none.txt", [LOAD, SAVE], 0),
        ("python-dict.txt", ["a.py", SAVE], 0),
        ("python-empty.txt", [], 0),
        ("comments-before-items.txt", [LOAD, SAVE], 0),
        ("comments-in-an-item.txt", [LOAD], 0),
        ("tool-call-text.txt", [LOAD, SAVE], 0),
        ("tool-call-object-empty.txt", [], 0),
        ("tool-call-list.txt", [LOAD], 0),
        ("fence-in-a-string.txt", ["a.md", SAVE], 0),
    ],
)
def test_every_list_is_read_and_no_draft(name: str, paths: list[str], dropped: int) -> None:
    """All items of the answer are read, in its order, and what is left out is counted."""
    parsed = parse_comments(_text(name), finish_reason="stop")
    assert [item.path for item in parsed.items] == paths
    assert (parsed.dropped, parsed.truncated) == (dropped, False)


@pytest.mark.parametrize("name", ["thought-brackets-cut.txt", "thought-harmony-cut.txt"])
def test_a_cut_thought_is_no_review(name: str) -> None:
    """A draft within a thought that does not end is not taken for the answer."""
    for finish_reason, code in (("length", "truncated"), ("stop", "empty_reply")):
        with pytest.raises(ReplyError) as caught:
            parse_comments(_text(name), finish_reason=finish_reason)
        assert caught.value.code == code


def test_cut_lists_keep_their_whole_items() -> None:
    """Of several lists, the last one cut off, every whole item is read and the cut is told."""
    parsed = parse_comments(_text("lists-cut.txt"), finish_reason="length")
    assert [item.path for item in parsed.items] == [LOAD, SAVE]
    assert parsed.truncated


def test_texts_of_rewritten_json_are_unchanged() -> None:
    """Quotes, apostrophes and slashes inside strings survive the reading of hand-written JSON."""
    first, _ = parse_comments(_text("python-dict.txt"), finish_reason="stop").items
    assert first.message == 'It\'s open: say "close"'
    (only,) = parse_comments(_text("comments-in-an-item.txt"), finish_reason="stop").items
    assert (only.message, only.severity) == ("Header // skipped", "low")
    tags, _ = parse_comments(_text("thought-in-a-string.txt"), finish_reason="stop").items
    assert tags.existing_code == "re.sub('</think>', '', text)"


def test_severities_are_never_milder_than_said() -> None:
    """The first word that names a severity decides, whatever stands around it."""
    items = parse_comments(_text("severity-words.txt"), finish_reason="stop").items
    assert [item.severity for item in items] == [
        "critical", "high", "critical", "critical", "high", "low", "medium",
    ]  # fmt: skip


def test_a_decision_that_is_turned_round_is_none() -> None:
    """`confirmed false positive` confirms nothing: that comment is asked again."""
    ids = [str(number) * 12 for number in range(6)]
    parsed = parse_verdicts(
        _text("verdict-words.txt"),
        dict(zip(asked_names(6), ids, strict=True)),
        finish_reason="stop",
    )
    assert {name[0]: verdict.decision for name, verdict in parsed.items.items()} == {
        "2": "confirmed",
        "3": "rejected",
        "4": "confirmed",
    }
    assert parsed.missing == (ids[0], ids[1], ids[5])
