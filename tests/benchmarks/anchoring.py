"""
How often a mutated comment lands on its right lines.

    python tests/benchmarks/anchoring.py [INPUTS.jsonl] [--rounds N]

Takes real lines of real diffs as quotes, damages quote and claim as models do, anchors the result
and compares. A place counts as right when it has the right side and the right lines; `unanchored`
is safe; anything else is wrong. Two kinds of cases have no right answer and are listed apart:

    twin       the removed line stands in the same hunk as a new one, up to layout
    elsewhere  the damaged claim covers another place with the same text
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.core.records import Input
from tasks.review.inputs.diffs import DiffLine, LineMark
from tasks.review.inputs.render import gutter
from tasks.review.places.anchors import Anchor, anchor
from tasks.review.places.places import Page, PageLine, pages_of

__all__ = ["Case", "Raw", "cases", "judge", "main", "read_inputs"]

SAMPLES = Path(__file__).parents[2] / "data" / "samples"


@dataclass(frozen=True, slots=True)
class Raw:
    """A comment as a model might send it."""

    path: str | None
    existing_code: str | None
    start_line: int | None
    end_line: int | None
    side: str | None = "right"
    category: str | None = "bug"
    severity: str | None = "medium"
    confidence: float | None = 0.5
    title: str = "title"
    message: str = "message"
    rationale: str | None = None
    suggestion: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One damaged comment and the lines that it is about."""

    kind: str
    source: Input
    raw: Raw
    page: Page
    lines: tuple[PageLine, ...]


Mutation = Callable[
    [random.Random, Page, tuple[PageLine, ...], Raw], tuple[Raw, tuple[PageLine, ...]]
]


def untouched(
    _: random.Random, __: Page, lines: tuple[PageLine, ...], raw: Raw
) -> tuple[Raw, tuple[PageLine, ...]]:
    return raw, lines


def whitespace(
    rng: random.Random, _: Page, lines: tuple[PageLine, ...], raw: Raw
) -> tuple[Raw, tuple[PageLine, ...]]:
    styles = (
        lambda text: text.strip(),
        lambda text: text.replace("    ", "\t"),
        lambda text: f"        {text}  ",
        lambda text: " ".join(text.split()),
        lambda text: text + "\r",
        lambda text: text.replace(" = ", "=").replace(", ", ","),
    )
    style = rng.choice(styles)
    return replace(raw, existing_code="\n".join(style(line.text) for line in lines)), lines


def wrong_line(
    rng: random.Random, _: Page, lines: tuple[PageLine, ...], raw: Raw
) -> tuple[Raw, tuple[PageLine, ...]]:
    return _shift(raw, rng.choice([-1, 1]) * rng.randint(1, 20)), lines


def anywhere(
    rng: random.Random, page: Page, lines: tuple[PageLine, ...], raw: Raw
) -> tuple[Raw, tuple[PageLine, ...]]:
    return _shift(raw, rng.choice(page.lines).number - lines[0].number), lines


def moved(
    rng: random.Random, _: Page, lines: tuple[PageLine, ...], raw: Raw
) -> tuple[Raw, tuple[PageLine, ...]]:
    """The claim is from another version of the file, a block longer or shorter above."""
    return _shift(raw, rng.choice([-1, 1]) * rng.randint(21, 300)), lines


def partial(
    rng: random.Random, _: Page, lines: tuple[PageLine, ...], raw: Raw
) -> tuple[Raw, tuple[PageLine, ...]]:
    texts = [line.text for line in lines]
    if len(lines) > 1 and rng.random() < 0.5:
        # The first line is a changed one: without any, the quote would be context of both sides.
        lines = lines[: rng.randint(1, len(lines))]
        return replace(raw, existing_code="\n".join(texts[: len(lines)])), lines
    head, tail = texts[0].strip(), texts[-1].strip()
    if len(lines) == 1:
        cut = rng.randint(0, len(head) // 3)
        texts = [head[cut : rng.randint(cut + (len(head) - cut) // 2, len(head))]]
    else:
        texts[0] = head[rng.randint(0, len(head) // 2) :]
        texts[-1] = tail[: rng.randint((len(tail) + 1) // 2, len(tail))]
    return replace(raw, existing_code="\n".join(texts)), lines


def partial_wrong_line(
    rng: random.Random, page: Page, lines: tuple[PageLine, ...], raw: Raw
) -> tuple[Raw, tuple[PageLine, ...]]:
    raw, lines = partial(rng, page, lines, raw)
    return wrong_line(rng, page, lines, raw)


def with_gutter(
    rng: random.Random, _: Page, lines: tuple[PageLine, ...], raw: Raw
) -> tuple[Raw, tuple[PageLine, ...]]:
    shown = [_shown(line) for line in lines]
    return replace(_shift(raw, rng.choice([0, 0, 5])), existing_code="\n".join(shown)), lines


def with_marks(
    rng: random.Random, _: Page, lines: tuple[PageLine, ...], raw: Raw
) -> tuple[Raw, tuple[PageLine, ...]]:
    text = "\n".join(line.marker + line.text for line in lines)
    return replace(_shift(raw, rng.choice([0, 0, 3])), existing_code=f"```diff\n{text}\n```"), lines


def no_claim(
    _: random.Random, __: Page, lines: tuple[PageLine, ...], raw: Raw
) -> tuple[Raw, tuple[PageLine, ...]]:
    return replace(raw, start_line=None, end_line=None, path=None), lines


def removed(
    rng: random.Random, _: Page, lines: tuple[PageLine, ...], raw: Raw
) -> tuple[Raw, tuple[PageLine, ...]]:
    """Quoted from the removed side, while the comment says nothing about sides."""
    named = replace(raw, start_line=lines[0].near, end_line=lines[-1].near)
    return rng.choice([raw, named, _shift(named, -1)]), lines


RIGHT: tuple[Mutation, ...] = (
    untouched,
    whitespace,
    wrong_line,
    moved,
    anywhere,
    partial,
    partial_wrong_line,
    with_gutter,
    with_marks,
    no_claim,
)
LEFT: tuple[Mutation, ...] = (removed, whitespace, with_gutter, with_marks, partial)


def read_inputs(path: Path) -> list[Input]:
    """Inputs of one JSONL file, or of all in a folder."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    rows = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    return [
        Input(row["input_id"], row["content"], row.get("kind", "snippet"), row.get("path"))
        for row in rows
    ]


def cases(inputs: Iterable[Input], rounds: int, seed: int = 7) -> Iterator[Case]:
    """Every mutation on `rounds` random quotes of every side of every input."""
    rng = random.Random(seed)
    for source in inputs:
        for page in (page for page in pages_of(source) if page.side != "mixed"):
            for mutation in RIGHT if page.side == "right" else LEFT:
                for _ in range(rounds):
                    case = _case(rng, source, page, mutation)
                    if case is not None:
                        yield case


def judge(case: Case) -> str:
    """`right`, `unanchored`, `twin`, `elsewhere` or `wrong`."""
    place = anchor(case.source, case.raw)
    span = case.lines[0].number, case.lines[-1].number
    if place.method == "unanchored":
        return "unanchored"
    if (place.side, place.start_line, place.end_line) == (case.page.side, *span):
        return "right"
    if case.page.side == "left" and place.side == "right" and _is_twin(case, place):
        return "twin"
    return "elsewhere" if _claimed(case, place) else "wrong"


def main() -> None:
    """Print one line per mutation and side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("source", type=Path, nargs="?", default=SAMPLES)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--show", type=int, default=0, help="print this many wrong ones")
    options = parser.parse_args()
    table: dict[tuple[str, str], Counter[str]] = {}
    for case in cases(read_inputs(options.source), options.rounds):
        verdict = judge(case)
        table.setdefault((case.page.side, case.kind), Counter())[verdict] += 1
        if verdict == "wrong" and options.show > 0:
            options.show -= 1
            print(
                case.kind,
                case.raw,
                [r.number for r in case.lines],
                anchor(case.source, case.raw),
                sep="\n  ",
            )
    _print(table)


def _print(table: dict[tuple[str, str], Counter[str]]) -> None:
    columns = ("right", "unanchored", "twin", "elsewhere", "wrong")
    print(f"{'side':6}{'mutation':20}{'cases':>8}" + "".join(f"{name:>12}" for name in columns))
    for (side, kind), counts in [*table.items(), (("all", ""), sum(table.values(), Counter()))]:
        line = "".join(f"{counts[name]:>12}" for name in columns)
        print(f"{side:6}{kind:20}{counts.total():>8}{line}")


def _case(rng: random.Random, source: Input, page: Page, mutation: Mutation) -> Case | None:
    wanted = [at for at, line in enumerate(page.lines) if line.marker != " " and line.key]
    if not wanted:
        return None
    start = rng.choice(wanted)
    lines = page.lines[start : start + rng.choice([1, 1, 1, 2, 3, 5])]
    lines = tuple(line for line in lines if line.hunk == lines[0].hunk)
    while not lines[-1].key:
        lines = lines[:-1]
    text = "\n".join(line.text for line in lines)
    raw = Raw(page.path, text, lines[0].number, lines[-1].number)
    raw, lines = mutation(rng, page, lines, raw)
    lines = tuple(line for line in lines if line.key)
    return (
        Case(mutation.__name__, source, raw, page, lines)
        if (raw.existing_code or "").strip() and lines
        else None
    )


def _shift(raw: Raw, lines: int) -> Raw:
    start = max(1, (raw.start_line or 1) + lines)
    return replace(
        raw, start_line=start, end_line=start + (raw.end_line or 1) - (raw.start_line or 1)
    )


def _shown(line: PageLine) -> str:
    number = None if line.marker == "-" else line.near
    marker: LineMark = "+" if line.marker == "+" else "-" if line.marker == "-" else " "
    return gutter(DiffLine(marker, line.text, line.number, number))


def _claimed(case: Case, place: Anchor) -> bool:
    """The damaged claim covers the place found, in the numbers that a model was shown."""
    page = next(p for p in pages_of(case.source) if (p.path, p.side) == (place.path, place.side))
    lines = [r for r in page.lines if (place.start_line or 0) <= r.number <= (place.end_line or 0)]
    start, end = case.raw.start_line or 0, case.raw.end_line or 0
    return all(start <= line.number <= end for line in lines) or all(
        start <= line.near <= end for line in lines
    )


def _is_twin(case: Case, place: Anchor) -> bool:
    right = next(p for p in pages_of(case.source) if p.path == case.page.path and p.side == "right")
    lines = [r for r in right.lines if (place.start_line or 0) <= r.number <= (place.end_line or 0)]
    return all(line.hunk == case.lines[0].hunk for line in lines)


if __name__ == "__main__":
    main()
