"""The parse ladder on replies as models write them: each rung, each way of being wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.core.errors import ReplyError
from tasks.core.records import Input
from tasks.review.places.anchors import build_comment
from tasks.review.replies.contract import RawComment, RawVerdict, asked_names
from tasks.review.replies.replies import parse_comments, parse_verdicts

ITEM: dict[str, Any] = {
    "path": "src/a.py",
    "existing_code": "    return x[0]",
    "start_line": 3,
    "end_line": 4,
    "category": "bug",
    "rationale": "An empty list raises IndexError.",
    "severity": "high",
    "confidence": 0.9,
    "title": "Crash on an empty list",
    "message": "Return None when the list is empty.",
    "suggestion": "    return x[0] if x else None",
}
OTHER = ITEM | {"path": "src/b.py", "title": "Second"}
ONE, TWO = json.dumps(ITEM), json.dumps(OTHER)
GOOD = json.dumps({"comments": [ITEM, OTHER]})
READ = RawComment(**ITEM)
READ_OTHER = RawComment(**OTHER)


def _comments(text: str, finish_reason: str | None = "stop") -> tuple[RawComment, ...]:
    return parse_comments(text, finish_reason=finish_reason).items


def _code(text: str, finish_reason: str | None = "stop") -> str:
    with pytest.raises(ReplyError) as caught:
        parse_comments(text, finish_reason=finish_reason)
    return caught.value.code


def test_schema() -> None:
    """The object that was asked for is read as it is."""
    parsed = parse_comments(GOOD, finish_reason="stop")
    assert parsed.items == (READ, READ_OTHER)
    assert (parsed.mode, parsed.dropped, parsed.notes, parsed.truncated) == ("schema", 0, {}, False)


def test_nothing_found_is_an_answer() -> None:
    """An empty list is a review without comments."""
    parsed = parse_comments('{"comments": []}', finish_reason="stop")
    assert (parsed.items, parsed.mode, parsed.dropped) == ((), "schema", 0)


@pytest.mark.parametrize(
    "text",
    [
        f'<think>Maybe {{"comments": []}}?</think>{GOOD}',
        f"no opening tag, just thought</think>\n\n{GOOD}",
        f"<thinking>a</thinking>```json\n{GOOD}\n```",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```\nLet me know if you want more detail!",
        f"Here is my review of `items[]`:\n\n{GOOD}\n\nThat is all.",
        f'The form is {{"comments": []}}. My answer: {GOOD}',
        f"[{ONE}, {TWO}]",
        f"```json\n[{ONE}, {TWO}]\n```",
        f'{{"summary": "two bugs", "review": {{"findings": [{ONE}, {TWO}]}}}}',
        f'{{"issues": [{ONE}, {TWO}], "score": 3}}',
        f"{ONE}\n{TWO}",
        f"{ONE}, {TWO}",
        json.dumps(GOOD),
        f"\ufeff{GOOD}",
    ],
)
def test_json_in_other_clothes(text: str) -> None:
    """Thoughts, fences, prose, wrappers, bare lists and quoted JSON: same comments, rung `json`."""
    parsed = parse_comments(text, finish_reason="stop")
    assert parsed.items == (READ, READ_OTHER)
    assert (parsed.mode, parsed.truncated) == ("json", False)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"comments": [{ONE}, {TWO},]}}',
        f'{{"comments": [{ONE} {TWO}]}}',
        f'{{"comments": [{ONE[:-1]},}}, {TWO}]}}',
        f'{{"comments": [{ONE}, {TWO}],}}',
        f'{{"comments": [{ONE}, {TWO}]',
    ],
)
def test_repaired_commas(text: str) -> None:
    """A comma too many or too few costs nothing."""
    parsed = parse_comments(text, finish_reason="stop")
    assert parsed.items == (READ, READ_OTHER)


def test_repaired_strings() -> None:
    """Raw line breaks, bare quotes and regex escapes inside a string are what they look like."""
    text = (
        '{"comments": [{"path": "a.py", "existing_code": "x = "a"\ny = \'b\'", "title": "t",'
        ' "message": "match \\d+, not "\\w"", "severity": "low"}, ' + TWO + "]}"
    )
    parsed = parse_comments(text, finish_reason="stop")
    first, second = parsed.items
    assert first.existing_code == "x = \"a\"\ny = 'b'"
    assert first.message == 'match \\d+, not "\\w"'
    assert second == READ_OTHER
    assert (parsed.mode, parsed.dropped) == ("repaired", 0)


@pytest.mark.parametrize("cut", range(1, len(TWO) - 1, 7))
def test_cut_off_anywhere(cut: int) -> None:
    """A reply cut inside an item keeps the whole ones, says so, and makes nothing of the rest."""
    parsed = parse_comments(f'{{"comments": [{ONE}, {TWO[:cut]}', finish_reason="length")
    assert parsed.items == (READ,)
    assert (parsed.mode, parsed.truncated) == ("repaired", True)


def test_cut_off_with_whole_json_is_whole() -> None:
    """The list ended before the limit was reached: nothing is missing."""
    assert not parse_comments(GOOD, finish_reason="length").truncated


@pytest.mark.parametrize(
    ("text", "finish_reason", "code"),
    [
        ("", "stop", "empty_reply"),
        (" \n\t", None, "empty_reply"),
        ("<think>I wonder whether", "stop", "empty_reply"),
        ("<think>hm</think>", "stop", "empty_reply"),
        ("", "length", "truncated"),
        ("", "content_filter", "content_filter"),
        ("I cannot help with that.", "content_filter", "content_filter"),
        ("The code looks fine to me.", "stop", "unparseable"),
        ("I looked at items[] and found nothing.", "stop", "unparseable"),
        ('The endpoint returns {"results": []} when empty.', "stop", "unparseable"),
        ('It answers {"comments": []} for a new post.', "stop", "unparseable"),
        ('See {"name": "left-pad", "description": "x", "type": "module"}.', "stop", "unparseable"),
        ('It builds {"results": [{"name": "x"}, ...]} first.', "stop", "unparseable"),
        ("{}", "stop", "wrong_shape"),
        ('{"comments": null}', "stop", "wrong_shape"),
        ('{"comments": {}}', "stop", "wrong_shape"),
        (
            '{"error": {"message": "overloaded", "type": "server", "code": "1"}}',
            "stop",
            "wrong_shape",
        ),
        ('{"results": [1, 2]}', "stop", "wrong_shape"),
        ("[1, 2]", "stop", "wrong_shape"),
        ("null", "stop", "unparseable"),
        ('{"comments": [', "stop", "truncated"),
        ('{"comments": [{"path": "a", "mess', "stop", "truncated"),
        ('Form: {"comments": []}. Answer: {"comments": [{"path": "a', "length", "truncated"),
        ('{"comments": [1, "x", null]}', "stop", "no_usable_item"),
        ('{"comments": [{"path": "a"}]}', "stop", "no_usable_item"),
        ('{"comments": [{"message": ["a"]}]}', "stop", "no_usable_item"),
    ],
)
def test_broken_is_never_empty(text: str, finish_reason: str | None, code: str) -> None:
    """What is no answer is an error with its reason, and not a review that found nothing."""
    assert _code(text, finish_reason) == code


def test_snippet_is_bounded() -> None:
    """The start of the reply is kept for whoever asks why, without what no column can hold."""
    with pytest.raises(ReplyError) as caught:
        parse_comments("a\x00b\ud800" + "x" * 10_000, finish_reason="stop")
    assert caught.value.snippet == "a\ufffdb\ufffd" + "x" * 396


def test_bad_items_cost_themselves() -> None:
    """One bad item among good ones is left out and counted by reason."""
    text = json.dumps({"comments": [ITEM, 7, {"path": "a"}, OTHER]})
    parsed = parse_comments(text, finish_reason="stop")
    assert parsed.items == (READ, READ_OTHER)
    assert (parsed.mode, parsed.dropped) == ("json", 2)
    assert parsed.notes == {"dropped:not_an_object": 1, "dropped:no_message": 1}


def test_aliases() -> None:
    """Names that models prefer are understood; the contract's own name goes first."""
    text = '{"issues":[{"file":"a.go","line":7,"type":"security","description":"d","fix":"f"}]}'
    (item,) = _comments(text)
    assert (item.path, item.start_line, item.end_line) == ("a.go", 7, 7)
    assert (item.category, item.message, item.suggestion) == ("security", "d", "f")
    (item,) = _comments('{"comments":[{"message":"m","body":"b","line":null,"start_line":2}]}')
    assert (item.message, item.start_line) == ("m", 2)


@pytest.mark.parametrize(
    ("severity", "said"),
    [("P0", None), ("Low (style)", None), ("Dire\n straits", "Dire straits"), (None, ""), (3, "3")],
)
def test_the_models_own_word_for_a_severity_is_kept(severity: Any, said: str | None) -> None:
    """Where it is none that we know; it goes along with the comment, in one visible line."""
    (item,) = _comments(json.dumps({"comments": [{**ITEM, "severity": severity}]}))
    assert item.severity_said == said
    comment = build_comment(Input("i", "x = 1\n"), "one", 0, item)
    assert comment.severity_said == said


@pytest.mark.parametrize(
    ("given", "field", "value", "note"),
    [
        ({"category": "Security "}, "category", "security", None),
        ({"category": "logic"}, "category", "other", "unknown:category"),
        ({"category": None}, "category", "other", "unknown:category"),
        ({"severity": "HIGH"}, "severity", "high", None),
        ({"severity": "blocker"}, "severity", "critical", None),
        ({"severity": "dire"}, "severity", "medium", "unknown:severity"),
        ({"severity": 3}, "severity", "medium", "unknown:severity"),
        ({"confidence": 85}, "confidence", 1.0, "clamped:confidence"),
        ({"confidence": -1}, "confidence", 0.0, "clamped:confidence"),
        ({"confidence": "0.5"}, "confidence", 0.5, None),
        ({"confidence": "sure"}, "confidence", None, "unreadable:confidence"),
        ({"confidence": float("nan")}, "confidence", None, "unreadable:confidence"),
        ({"confidence": float("inf")}, "confidence", None, "unreadable:confidence"),
        ({"start_line": "3"}, "start_line", 3, None),
        ({"start_line": 3.0}, "start_line", 3, None),
        ({"start_line": "3-4", "end_line": None}, "start_line", None, "unreadable:start_line"),
        ({"start_line": 0, "end_line": 0}, "start_line", None, "unreadable:line"),
        ({"start_line": -5}, "start_line", 4, "unreadable:line"),
        ({"start_line": 10**12}, "start_line", 4, "unreadable:line"),
        ({"start_line": 10**30}, "start_line", 4, "unreadable:start_line"),
        ({"start_line": 9}, "start_line", 4, "swapped:lines"),
        ({"end_line": None}, "end_line", 3, None),
        ({"path": ["a"]}, "path", None, "unreadable:path"),
        ({"path": "p" * 501}, "path", None, "too_long:path"),
        ({"path": ""}, "path", None, None),
        ({"existing_code": " \n"}, "existing_code", None, None),
        ({"existing_code": "\n    a\n"}, "existing_code", "    a", None),
        ({"existing_code": "ab\n" * 3_000}, "existing_code", "ab\n" * 2_665 + "ab", "cut:quote"),
        ({"suggestion": "s" * 8_001}, "suggestion", None, "too_long:suggestion"),
        ({"suggestion": ""}, "suggestion", None, None),
        ({"title": "t" * 81}, "title", "t" * 79 + "\u2026", None),
        ({"title": None}, "title", "Return None when the list is empty.", None),
        ({"title": "one\ntwo"}, "title", "one", None),
        ({"message": None}, "message", "An empty list raises IndexError.", None),
        ({"message": "m\x00\ud800"}, "message", "m\ufffd\ufffd", None),
        ({"existing_code": "a <\u2060|im_end|> b"}, "existing_code", "a <|im_end|> b", None),
        ({"side": "left"}, "side", "left", None),
        ({"side": "middle"}, "side", "right", None),
    ],
)
def test_fields(given: dict[str, Any], field: str, value: object, note: str | None) -> None:
    """What a field may hold, and what becomes of the rest: unknown, clamped, cut, and counted."""
    parsed = parse_comments(json.dumps({"comments": [ITEM | given]}), finish_reason="stop")
    (item,) = parsed.items
    assert getattr(item, field) == value
    assert [*parsed.notes] == ([note] if note else [])


def test_too_many_items() -> None:
    """A reply of a thousand comments keeps the first fifty."""
    parsed = parse_comments(json.dumps({"comments": [ITEM] * 1_000}), finish_reason="stop")
    assert (len(parsed.items), parsed.dropped) == (50, 950)
    assert parsed.notes == {"dropped:too_many": 950}


IDS = ("aaaaaa111111", "aaaaaa222222", "bbbbbb333333")
NAMES = dict(zip(asked_names(3), IDS, strict=True))
VERDICT: dict[str, Any] = {
    "comment_id": IDS[0],
    "evidence": "x = 1",
    "decision": "confirmed",
    "score": 8,
    "reason": "traced",
    "corrected_severity": None,
    "corrected_start_line": None,
    "corrected_end_line": None,
    "duplicate_of": None,
}


def _verdicts(*items: dict[str, Any]) -> dict[str, RawVerdict]:
    text = json.dumps({"verdicts": items})
    return dict(parse_verdicts(text, NAMES, finish_reason="stop").items)


def test_verdicts() -> None:
    """Verdicts come by id; ids without one are named in the order they were asked."""
    text = json.dumps({"verdicts": [VERDICT | {"comment_id": IDS[1]}]})
    parsed = parse_verdicts(text, NAMES, finish_reason="stop")
    assert parsed.items == {IDS[1]: RawVerdict(**VERDICT | {"comment_id": IDS[1]})}
    assert parsed.missing == (IDS[0], IDS[2])
    assert (parsed.mode, parsed.dropped, parsed.truncated) == ("schema", 0, False)


def test_no_verdict_at_all_is_all_missing() -> None:
    """An empty list answers nobody."""
    parsed = parse_verdicts('{"verdicts": []}', NAMES, finish_reason="stop")
    assert (parsed.items, parsed.missing) == ({}, IDS)


def test_foreign_and_repeated_ids() -> None:
    """Only what was asked is answered, and only once."""
    items = [VERDICT, VERDICT | {"score": 1}, VERDICT | {"comment_id": "cccccc"}]
    parsed = parse_verdicts(json.dumps({"verdicts": items}), NAMES, finish_reason="stop")
    assert parsed.items[IDS[0]].score == 8
    assert parsed.notes == {"dropped:repeated_id": 1, "dropped:unknown_id": 1}
    assert parsed.dropped == 2


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("c3", IDS[2]),
        (" `C3`", IDS[2]),
        ("[c1]", IDS[0]),
        ("c4", None),
        ("c", None),
        ("3", None),
        ("c12", None),
        ("bbbbbb", IDS[2]),
        (" `bbbbbb333333` ", IDS[2]),
        ("aaaaaa1", IDS[0]),
        ("aaaaaa", None),
        ("bbbbb", None),
        ("", None),
    ],
)
def test_names_and_ids(written: str, meant: str | None) -> None:
    """A comment is meant by its name, its id, or the start of an id that can only mean one."""
    items = _verdicts(VERDICT | {"comment_id": written}, VERDICT | {"comment_id": IDS[1]})
    assert [*items] == [name for name in (meant, IDS[1]) if name]


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"decision": "Rejected."}, "decision", "rejected"),
        ({"decision": "confirm"}, "decision", "confirmed"),
        ({"score": 11}, "score", 10),
        ({"score": -3}, "score", 0),
        ({"score": 7.4}, "score", 7),
        ({"score": "high"}, "score", None),
        ({"score": float("nan")}, "score", None),
        ({"corrected_severity": "LOW"}, "corrected_severity", "low"),
        ({"corrected_severity": "awful"}, "corrected_severity", None),
        ({"corrected_start_line": 9}, "corrected_end_line", 9),
        ({"duplicate_of": "c3"}, "duplicate_of", IDS[2]),
        ({"duplicate_of": "c1"}, "duplicate_of", None),
        ({"duplicate_of": "bbbbbb"}, "duplicate_of", IDS[2]),
        ({"duplicate_of": IDS[0]}, "duplicate_of", None),
        ({"duplicate_of": "nobody"}, "duplicate_of", None),
    ],
)
def test_verdict_fields(given: dict[str, Any], field: str, value: object) -> None:
    """Numbers are clamped, words normalised, and a comment duplicates another one or none."""
    assert getattr(_verdicts(VERDICT | given)[IDS[0]], field) == value


def test_unreadable_decision_is_no_verdict() -> None:
    """A decision is not guessed: the comment counts as not judged and is asked again."""
    items = _verdicts(VERDICT | {"decision": "maybe"}, VERDICT | {"comment_id": IDS[1]})
    assert [*items] == [IDS[1]]


def test_verdicts_as_a_mapping() -> None:
    """Some models key the verdicts by id."""
    rest = {name: value for name, value in VERDICT.items() if name != "comment_id"}
    text = json.dumps({"verdicts": {IDS[0]: rest, IDS[2]: rest}})
    parsed = parse_verdicts(text, NAMES, finish_reason="stop")
    assert [*parsed.items] == [IDS[0], IDS[2]]
    assert parsed.mode == "json"


def test_verdict_errors() -> None:
    """A reply that judges none of what was asked is an error."""
    text = json.dumps({"verdicts": [VERDICT | {"comment_id": "nobody"}]})
    for bad, code in ((text, "no_usable_item"), ("All fine.", "unparseable")):
        with pytest.raises(ReplyError) as caught:
            parse_verdicts(bad, NAMES, finish_reason="stop")
        assert caught.value.code == code
