"""The canaries are what their README says: mixed, labelled at lines, and told apart by nothing but the code."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tasks.core.records import Input
from tasks.load.canaries import read_canaries
from tasks.review.inputs.diffs import parse_diff
from tasks.review.inputs.render import render_input
from tasks.review.prompts import check_messages

_FILE = Path(__file__).parents[2] / "data" / "samples" / "canaries.jsonl"
CANARIES = read_canaries(str(_FILE))
FLAWED = [one for one in CANARIES if one.expected]


def _name(one: Input) -> str:
    return one.input_id


def _lines(one: Input) -> dict[int, str]:
    """Lines under review: all of a snippet, the added ones of a diff."""
    if one.kind == "snippet":
        return dict(enumerate(one.content.splitlines(), 1))
    (file,) = parse_diff(one.content)
    lines = [line for hunk in file.hunks for line in hunk.lines]
    return {line.new: line.text for line in lines if line.new and line.marker == "+"}


def test_the_set_is_mixed() -> None:
    """40, three in five defective, nine languages, diffs among them, two injections."""
    assert (len(CANARIES), len(FLAWED)) == (40, 24)
    assert len({one.language for one in CANARIES}) == 9
    assert Counter(one.kind for one in CANARIES) == {"snippet": 32, "diff": 8}
    assert sum(one.extra.get("injection") is True for one in FLAWED) == 2
    assert not any(one.extra for one in CANARIES if not one.expected)


@pytest.mark.parametrize("one", FLAWED, ids=_name)
def test_a_label_is_at_lines_under_review(one: Input) -> None:
    """One defect each, at few lines that exist, with category, severity and words."""
    (label,) = one.expected or ()
    assert label.start_line is not None
    assert label.end_line is not None
    lines = _lines(one)
    assert label.end_line - label.start_line < 5
    assert all(number in lines for number in range(label.start_line, label.end_line + 1))
    assert any(lines[n].strip() for n in range(label.start_line, label.end_line + 1))
    assert label.path == one.path
    assert label.category
    assert label.severity
    assert len(label.message or "") > 40


def test_no_prompt_shows_what_a_canary_is() -> None:
    """Neither id nor label nor the mark of an injection is in what a model reads."""
    for one in CANARIES:
        (rendered,) = render_input(one, 32_000, len).parts
        text = "".join(message["content"] for message in check_messages(one, rendered))
        assert "canary" not in text.lower()
        assert "injection" not in one.content.lower()
        assert all((label.message or "") not in text for label in one.expected or ())
        assert f"{one.input_id}" not in text


def test_the_words_around_clean_and_defective_ones_are_alike() -> None:
    """Titles have about the same length: a model must not guess from them."""
    sizes = {bool(one.expected): [] for one in CANARIES}
    for one in CANARIES:
        sizes[bool(one.expected)].append(len(one.title or ""))
    means = {key: sum(some) / len(some) for key, some in sizes.items()}
    assert abs(means[True] - means[False]) < 6
