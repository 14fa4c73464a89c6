"""
Findings as Markdown: the run's result, then a section per input, worst first.

What models and authors wrote is shown, never obeyed: outside of code spans no HTML, image or
heading of theirs survives, and a code block's fence is longer than any fence inside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from tasks.core.manifest import RunFacts
from tasks.core.text_safety import escape_markdown, markdown_line
from tasks.review.findings.findings import (
    Finding,
    Findings,
    category_of,
    place_text,
    title_of,
    worst_first,
)

__all__ = ["PER_INPUT", "fence_around", "markdown", "prose"]

PER_INPUT = 20
"""Findings shown of one input; the rest is counted."""
_MAX_CODE_LINES = 30
_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_FENCES = re.compile(r"`{3,}")


def markdown(facts: RunFacts, inputs: Iterable[Findings]) -> Iterator[bytes]:
    """The document in pieces; suppressed findings are left out."""
    yield f"# Review {markdown_line(facts['run_id'])}\n\n**{markdown_line(facts['result'])}**\n".encode()
    empty = True
    for findings in inputs:
        if findings.shown:
            empty = False
            yield _section(findings).encode()
    if empty:
        yield b"\nNo findings.\n"


def _section(findings: Findings) -> str:
    ranked = sorted(findings.shown, key=worst_first)
    title = markdown_line(findings.path)
    if findings.path != findings.input_id:
        title += f" ({markdown_line(findings.input_id)})"
    parts = [f"\n## {title}\n", *(_item(one, findings.path) for one in ranked[:PER_INPUT])]
    more = len(ranked) - PER_INPUT
    if more > 0:
        parts.append(f"\n...and {more:,} more in comments.parquet.\n")
    return "".join(parts)


def _item(finding: Finding, path: str) -> str:
    place = place_text(finding)
    if finding["path"] != path:
        place = f"{markdown_line(finding['path'])}, {place}"
    facts = [finding["severity"], category_of(finding), place, *_judgement(finding)]
    text = f"\n### {markdown_line(title_of(finding))}\n\n{', '.join(facts)}\n\n{prose(finding['message'])}\n"
    return (
        text + _code("Code", finding["existing_code"]) + _code("Suggestion", finding["suggestion"])
    )


def _judgement(finding: Finding) -> list[str]:
    score, agreement = finding["verdict_score"], finding["agreement"] or 1
    found = [] if score is None else [f"score {score} of 10"]
    return [*found, f"{agreement} checks"] if agreement > 1 else found


def _code(label: str, code: str | None) -> str:
    if not code or not code.strip():
        return ""
    lines = code.rstrip().splitlines()
    shown = "\n".join(lines[:_MAX_CODE_LINES])
    left = len(lines) - _MAX_CODE_LINES
    fence = fence_around(shown)
    note = f"\n{label}, without its last {left:,} lines:\n" if left > 0 else f"\n{label}:\n"
    return f"{note}\n{fence}\n{shown}\n{fence}\n"


def fence_around(code: str) -> str:
    """A fence for a code block that nothing inside can close."""
    return "`" * (max((len(run) for run in _FENCES.findall(code)), default=2) + 1)


def prose(text: str | None, plain: Callable[[str], str] = escape_markdown) -> str:
    """Text of others with its paragraphs and code spans kept, and all other markup made visible.

    `plain` is what is done to the text between code spans.
    """
    # A lone carriage return ends a line in Markdown too.
    text = "\n".join((text or "").strip().splitlines())
    kept: list[str] = []
    start = 0
    for span in _SPAN.finditer(text):
        kept += [plain(text[start : span.start()]), span[0].replace("\n", " ")]
        start = span.end()
    kept.append(plain(text[start:]))
    return "".join(kept)
