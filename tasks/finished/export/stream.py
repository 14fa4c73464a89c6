"""JSON in pieces, and names that are unique in a report: what the exports share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from tasks.review.findings.findings import Finding

__all__ = ["Ordinals", "json_array"]


def json_array(items: Iterable[Any]) -> Iterator[bytes]:
    """A JSON array, one item a line, made as it is read."""
    yield b"["
    for number, item in enumerate(items):
        yield (b",\n" if number else b"\n") + orjson.dumps(item)
    yield b"\n]"


class Ordinals:
    """Tells equal fingerprints of several inputs apart: `fingerprint:1`, `fingerprint:2`.

    Counted in the report's order, which is that of the input ids: a rerun gives the same names.
    Holds one fingerprint per finding.
    """

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def name(self, finding: Finding) -> str:
        """Unique within the report."""
        fingerprint = finding["fingerprint"]
        self._seen[fingerprint] += 1
        return f"{fingerprint}:{self._seen[fingerprint]}"
