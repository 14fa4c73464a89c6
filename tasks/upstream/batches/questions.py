"""Questions that a shard has met and the journal does not answer, in a file of the shard: a line each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from tasks.core.calls import Request

__all__ = ["read_questions", "write_question"]

_KEPT = (
    "model",
    "messages",
    "params",
    "prompt_version",
    "prompt_tokens",
    "expected_tokens",
    "cell",
)


def write_question(file: BinaryIO, request: Request) -> None:
    """Append one question; `stream` and the tier are of a call online and are left out."""
    record = {name: getattr(request, name) for name in _KEPT}
    file.write(json.dumps(record).encode() + b"\n")


def read_questions(files: Iterable[Path]) -> Iterator[Request]:
    """The questions of several files, one after the other."""
    for path in files:
        with path.open("rb") as lines:
            for line in lines:
                record = json.loads(line)
                record["messages"] = tuple(record["messages"])
                yield Request(**record)
