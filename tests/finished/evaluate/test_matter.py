"""Whether a comment means a labelled defect: pairs judged by a person who wrote them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tasks.core.records import Comment, Expected
from tasks.finished.evaluate.matter import Matter, says_nothing

Make = Callable[..., Comment]

INJECTION = "SQL injection: the user's name is put into the query text without a parameter."
RACE = "Two threads can both see an empty cache and fill it: check and write are not one step."
LEAK = "The file is opened and not closed when parsing raises."
ZERO = "Division by zero for an empty list."

SAME = [
    (
        INJECTION,
        "Unescaped query",
        "name goes into the SQL query as text: an injection is possible.",
    ),
    (INJECTION, "SQL injection", "Use a parameter."),
    (
        RACE,
        "Race on the cache",
        "Another thread may fill the cache between the check and the write.",
    ),
    (LEAK, "File leak", "When parsing raises, the file stays open."),
    (
        ZERO,
        "Crash on empty input",
        "len(rows) is 0 for an empty list: ZeroDivisionError, a division by 0.",
    ),
]
OTHER = [
    (INJECTION, "Line too long", "The query is 120 characters long: wrap the line."),
    (INJECTION, "Missing type hint", "The function has no return annotation."),
    (RACE, "Unbounded cache", "Nothing is ever evicted, so memory grows with every key."),
    (LEAK, "Magic number", "Give 4096 a name and say why it was chosen."),
    (ZERO, "Shadowed builtin", "A variable called list hides the builtin."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "title", "message", "same"),
    [*((*pair, True) for pair in SAME), *((*pair, False) for pair in OTHER)],
)
def test_words_decide(comment: Make, label: str, title: str, message: str, *, same: bool) -> None:
    """With a message the category does not: a bug beside a bug may be another one."""
    said = Matter.of_comment(comment(title=title, message=message, category="bug"))
    for category in ("bug", "security", None):
        assert (
            Matter.of_defect(Expected(None, 1, category=category, message=label)).is_of(said)
            == same
        )


@pytest.mark.parametrize(
    ("defect", "category", "same", "nothing"),
    [
        ({"category": "security"}, "security", True, False),
        ({"category": "security"}, "style", False, False),
        ({"category": "security", "message": "of the"}, "style", False, False),
        ({}, "style", True, True),
        ({"message": " "}, "style", True, True),
    ],
)
def test_a_label_without_words(
    comment: Make, defect: dict[str, Any], category: str, *, same: bool, nothing: bool
) -> None:
    """Its category decides, and without one the place."""
    label = Expected(None, 1, **defect)
    assert Matter.of_defect(label).is_of(Matter.of_comment(comment(category=category))) == same
    assert says_nothing(label) == nothing


def test_a_label_of_one_word(comment: Make) -> None:
    """Two words in common are asked for only of texts that have two."""
    said = Matter.of_comment(comment(title="Integer overflow", message="The sum wraps."))
    assert Matter.of_defect(Expected(None, 1, message="overflow")).is_of(said)
    assert not Matter.of_defect(Expected(None, 1, message="Deadlock")).is_of(said)
