"""
Packing hunks into a few parts of limited size.

A part holds whole hunks. Only a hunk that is larger than a part is cut, between lines, and goes
on in the next part. What fits nowhere is returned, so that it can be named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tasks.review.inputs.diffs import DiffLine

__all__ = ["Block", "fit", "left_out"]


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring lines of one file, with the title that introduces the file."""

    path: str | None
    title: tuple[str, ...]
    section: str
    lines: tuple[DiffLine, ...]

    @property
    def header(self) -> str:
        """The hunk's @@ line, counted anew because the block may be a piece of a hunk."""
        old, new = self.numbers("old"), self.numbers("new")
        span = f"-{old[0] if old else 0},{len(old)} +{new[0] if new else 0},{len(new)}"
        return f"@@ {span} @@ {self.section}".rstrip()

    def numbers(self, side: str) -> list[int]:
        """Line numbers on the `old` or `new` side."""
        numbers = (line.new if side == "new" else line.old for line in self.lines)
        return [number for number in numbers if number is not None]


def fit(
    blocks: Iterable[Block], budget: int, most: int, size: Callable[[Block], int]
) -> tuple[list[list[Block]], list[Block]]:
    """At most `most` parts of `budget` in the given order, and the blocks that did not fit.

    Sizes are added up, which for tokens errs on the safe side by a token or two per block.
    """
    parts: list[list[Block]] = [[]]
    rest: list[Block] = []
    used = 0
    for block in (piece for whole in blocks for piece in _pieces(whole, budget, size)):
        need = size(block)
        if used + need > budget and need <= budget and len(parts) < most and parts[-1]:
            parts.append([])
            used = 0
        # The last part takes later, smaller hunks when a large one does not fit.
        if used + need > budget:
            rest.append(block)
        else:
            parts[-1].append(block)
            used += need
    return [part for part in parts if part], rest


def left_out(blocks: Iterable[Block]) -> tuple[str, ...]:
    """`path:start-end` of each block, neighbours joined; new-side numbers where there are any."""
    spans: list[tuple[str, int, int, str]] = []
    for block in blocks:
        path, first, last, note = _span(block)
        if spans and spans[-1][0] == path and spans[-1][3] == note and spans[-1][2] + 1 == first:
            first = spans.pop()[1]
        spans.append((path, first, last, note))
    return tuple(f"{path}:{first}-{last}{note}" for path, first, last, note in spans)


def _span(block: Block) -> tuple[str, int, int, str]:
    new, old = block.numbers("new"), block.numbers("old")
    numbers = new or old or [0]
    return block.path or "input", numbers[0], numbers[-1], "" if new else " (removed)"


def _pieces(block: Block, budget: int, size: Callable[[Block], int]) -> list[Block]:
    if size(block) <= budget:
        return [block]
    cuts = _cuts(block, budget, size)
    return [
        replace(block, lines=block.lines[start:end])
        for start, end in zip(cuts, [*cuts[1:], len(block.lines)], strict=True)
    ]


def _cuts(block: Block, budget: int, size: Callable[[Block], int]) -> Sequence[int]:
    """Where pieces start: greedy; a line that is too long by itself becomes its own piece."""
    title = size(replace(block, lines=()))
    cuts, used = [0], title
    for at, line in enumerate(block.lines):
        need = max(0, size(replace(block, lines=(line,))) - title)
        if used + need > budget and at > cuts[-1]:
            cuts.append(at)
            used = title
        used += need
    return cuts
