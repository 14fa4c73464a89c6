"""Markdown: readable, capped, and inert whatever the texts hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tasks.core.cells import RunCounts
from tasks.core.records import SEVERITIES
from tasks.finished.export import EXPORTS
from tasks.finished.export.markdown import PER_INPUT
from tasks.review.findings.findings import Findings
from tests.factories import comment, findings, manifest_of

_CREATED = {
    "html_block",
    "html_inline",
    "image",
    "link_open",
    "blockquote_open",
    "table_open",
    "hr",
}


def _text(*inputs: Findings, **facts: Any) -> str:
    return b"".join(EXPORTS["markdown"].pieces(manifest_of(RunCounts()) | facts, inputs)).decode()


def _tokens(text: str) -> list[Token]:
    parsed = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    return [part for token in parsed for part in (token, *(token.children or ()))]


def _headings(text: str) -> list[str]:
    tokens = MarkdownIt("commonmark").parse(text)
    return [
        "".join(part.content for part in tokens[place + 1].children or ())
        for place, token in enumerate(tokens)
        if token.type == "heading_open"
    ]


def test_sections_run_from_worst_to_mildest() -> None:
    """One section per input with findings, and in it severity decides the order."""
    rows = [
        comment(severity=one, line=3 * line, title=one, category=category)
        for line, (one, category) in enumerate(zip(reversed(SEVERITIES), "abcd", strict=True), 1)
    ]
    text = _text(findings(*(replace(one, outcome="kept") for one in rows)), findings(input_id="b"))
    assert _headings(text)[1:] == ["src/app.py (a)", *SEVERITIES]


def test_what_does_not_fit_is_counted() -> None:
    """An input with very many findings does not bury the others."""
    rows = [comment(line=3 * n, existing_code=f"{n}", title=f"{n}") for n in range(1, 31)]
    text = _text(findings(*rows))
    assert text.count("\n### ") == PER_INPUT
    assert "...and 10 more in comments.parquet." in text


def test_long_code_is_cut_and_says_so() -> None:
    """A whole file as a quote shows its start."""
    text = _text(findings(comment(existing_code="\n".join(map(str, range(100))))))
    assert "Code, without its last 70 lines:" in text


def test_result_comes_first() -> None:
    """INCOMPLETE cannot be missed; a run without findings says that too."""
    text = _text(complete=False, result="INCOMPLETE: 1 of 2 inputs, 1 not in full: 1 timeout")
    assert text.splitlines()[2].startswith("**INCOMPLETE: 1 of 2 inputs")
    assert "No findings." in text


def test_code_spans_stay_readable() -> None:
    """Models write code in backticks; that is kept as it is."""
    tokens = _tokens(_text(findings(comment(message="Use `a_b[*]` and <b>not</b> `x < y`."))))
    spans = [token.content for token in tokens if token.type == "code_inline"]
    assert spans == ["a_b[*]", "x < y"]


_HOSTILE = st.lists(
    st.sampled_from(
        ["`", "``", "```", "~~~", "<img src=x onerror=alert(1)>", "<!--", "-->", "![a](http://x)", "[a](b)",
         "\n", "\n\n", "# ", "- ", "> ", "1. ", "---", "===", "\\", "|", "    ", "\t", "&lt;", "a", "*", "_", "\r"]
    )
).map("".join)  # fmt: skip


@settings(deadline=None)  # the machine may be busy
@given(text=_HOSTILE)
@example(text="`<img src=x>``<b>`\n\n<img src=x>`")
@example(text="\\`<img src=x>`")
@example(text="a\n===\n\n```\n</script><script>alert(1)</script>")
def test_texts_of_others_create_no_markup(text: str) -> None:
    """No HTML, image, link, heading or table comes out of a path, title, message or code."""
    written = _text(
        findings(
            comment(title=text, message=text, path=f"p{text}", existing_code=text, suggestion=text),
            input_id=f"i{text}",
            path=f"p{text}",
        ),
        result=f"r{text}",
    )
    tokens = _tokens(written)
    assert not _CREATED & {token.type for token in tokens}
    assert sum(token.type == "heading_open" for token in tokens) == 3
