"""What every peer's script is given: questions, keys, an endpoint. Runs in any environment."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Work", "read_work"]


class Work(NamedTuple):
    """The questions that our pipeline makes of the same inputs, and where they go."""

    base_url: str
    keys: list[str]
    model: str
    params: dict[str, Any]
    """What else goes into each request."""
    in_flight: int
    questions: list[tuple[str, list[dict[str, str]]]]
    """id and messages"""
    output: Path

    def write(self, answers: Iterator[tuple[str, str]]) -> None:
        """Store the answers, one JSON object a line."""
        with self.output.open("w") as file:
            file.writelines(json.dumps({"id": a, "content": b}) + "\n" for a, b in answers)


def read_work() -> Work:
    """From the file that is the script's only argument."""
    given = json.loads(Path(sys.argv[1]).read_text())
    system = {"role": "system", "content": given.pop("system")}
    with Path(given.pop("source")).open() as file:
        rows = [json.loads(line) for line in file]
    questions = [(row["id"], [system, {"role": "user", "content": row["user"]}]) for row in rows]
    return Work(**given | {"questions": questions, "output": Path(given["output"])})
