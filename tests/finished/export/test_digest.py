"""The digest: a night in a few lines, for an issue or a chat."""

from __future__ import annotations

from typing import Any

from markdown_it import MarkdownIt

from tasks.core.cells import RunCounts
from tasks.core.records import Comment
from tasks.finished.export.digest import digest
from tests.factories import comment, findings, manifest_of

GONE = [
    {
        "fingerprint": "f",
        "path": "src/old.py",
        "category": "bug",
        "severity": "high",
        "title": "Was bad",
    }
]
HISTORY = {
    "run_id": "r", "folder": "f", "new": 3, "recurring": 2, "dropped": 0, "gone": 2, "unknown": 9,
    "worst_gone": GONE,
}  # fmt: skip


def one(number: int, **fields: Any) -> dict[str, Any]:
    """A row of comments.parquet."""
    age = {"age": fields.pop("age", "new"), "since": fields.pop("since", None)}
    made: Comment = comment(comment_id=f"c{number}", line=number, outcome="kept", **fields)
    (row,) = findings(made).shown
    return {**row, **age}


def written(rows: list[dict[str, Any]], carried: list[dict[str, Any]], **facts: Any) -> str:
    found = findings(comment())
    inputs = [type(found)("a", "snippet", "src/app.py", tuple(rows), ())]
    return b"".join(digest(manifest_of(RunCounts()) | facts, inputs, carried)).decode()  # type: ignore[arg-type]


def test_what_is_new_gone_and_open() -> None:
    """Counts first, then the worst new ones, what is gone, and what is open for longest."""
    rows = [
        one(1, severity="low", title="Mild"),
        one(2, severity="critical", title="Grave"),
        one(3, age="recurring", since="2026-11-20T01:30:00+00:00", title="Stays"),
    ]
    carried = [one(4, age=None, since="2026-11-02T01:30:00+00:00", title="Nobody looked")]
    text = written(rows, carried, history=HISTORY)
    first = text.splitlines()[0]
    assert first == "## diffs.jsonl: 3 new, 2 gone, 4 open; first seen 2026-11-02"
    order = ["Grave", "Mild", "**Gone**", "Was bad", "and 1 more", "**Open for longest**"]
    order += ["Nobody looked", "(since 2026-11-02)", "Stays", "(since 2026-11-20)"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_a_first_run_compares_with_nothing() -> None:
    """All of it is open, and nothing is called new."""
    text = written([one(1)], [])
    assert text.startswith("## diffs.jsonl: 1 open, no earlier run to compare with\n")
    assert "**Findings**" in text
    assert "**New**" not in text


def test_a_quiet_night_is_one_line_and_its_result() -> None:
    """Nothing new, nothing gone."""
    quiet = HISTORY | {"new": 0, "gone": 0, "recurring": 0, "worst_gone": []}
    text = written([], [], history=quiet)
    assert text.splitlines()[0].endswith("0 new, 0 gone, 0 open")
    assert len([line for line in text.splitlines() if line]) == 2


def test_many_findings_stay_a_digest() -> None:
    """Ten new ones are listed, the worst, and the others counted."""
    rows = [one(number, title=f"Number {number}") for number in range(1, 60)]
    text = written(rows, [], history=HISTORY | {"new": 59})
    assert "- and 49 more" in text
    assert len(text) < 3000


def test_titles_of_others_are_shown_and_not_obeyed() -> None:
    """No link, image or heading of theirs survives."""
    text = written([one(1, title="![x](http://x.example) <b>", path="src/[a](b).py")], [])
    html = MarkdownIt().render(text)
    assert "<img" not in html
    assert "<a " not in html
    assert "<b>" not in html
