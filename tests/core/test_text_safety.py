"""Text of others, made safe for a terminal and for Markdown."""

from __future__ import annotations

from markdown_it import MarkdownIt

from tasks.core.text_safety import markdown_cell, visible, visible_code, visible_lines
from tasks.report.markdown import markdown_table

HOSTILE = "a|b\n# [x](http://y) <img src=x> \x1b[31m \u202edesrever `c` __init__.py"


def test_what_moves_a_terminal_is_spelled_out() -> None:
    """Newlines, escapes and marks of direction are shown; other text stays."""
    assert visible_code("a\tb\nc\r\x1b\u202e é") == "a\tb\nc\\r\\x1b\\u202e é"
    assert visible("a\nb\x1b[31m\u202e é") == r"a\nb\x1b[31m\u202e é"


def test_no_line_of_others_passes_for_one_of_ours() -> None:
    """Lines stay, indented; a second pass changes nothing."""
    shown = visible_lines("first\nerror: forged\x1b[2K")
    assert shown == "first\n    error: forged\\x1b[2K"
    assert visible_lines(shown) == shown


def test_a_cell_has_no_markup() -> None:
    """A table with a hostile title has two rows and two columns, and nothing but text in them."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(
        markdown_table(("title", "path"), [(HOSTILE, "src/content_filter.py")])
    )
    kinds = [token.type for token in tokens]
    inner = [child for token in tokens for child in token.children or ()]
    assert kinds.count("td_open") == kinds.count("th_open") == 2
    assert {child.type for child in inner} == {"text"} | {"text_special"} & {c.type for c in inner}
    assert "\x1b" not in "".join(child.content for child in inner)
    assert "__init__.py" in "".join(child.content for child in inner)
    assert markdown_cell("src/content_filter.py") == "src/content_filter.py"
