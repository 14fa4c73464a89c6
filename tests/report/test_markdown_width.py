"""Tables of the report fit the page that shows them."""

from __future__ import annotations

from tasks.report.markdown import markdown_table


def test_a_wide_table_is_several_with_the_first_column_in_each() -> None:
    """Fourteen columns are two tables of eight and seven: none is wider than eight."""
    head = [f"h{number}" for number in range(14)]
    text = markdown_table(head, [range(14), range(100, 114)])
    first, second = text.split("\n\n")

    assert first.splitlines()[0] == "| h0 | h1 | h2 | h3 | h4 | h5 | h6 | h7 |"
    assert second.splitlines()[0] == "| h0 | h8 | h9 | h10 | h11 | h12 | h13 |"
    assert second.splitlines()[3] == "| 100 | 108 | 109 | 110 | 111 | 112 | 113 |"


def test_a_narrow_table_stays_one() -> None:
    """One column, and eight, are one table."""
    for width in (1, 8):
        assert "\n\n" not in markdown_table(["h"] * width, [range(width)])
