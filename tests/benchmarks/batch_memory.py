"""
Memory and time of one large batch: 50,000 questions in a file of 180 MB, through the sandbox.

    python tests/benchmarks/batch_memory.py [--questions N] [--bytes N]

Prints the peak of this process, which has what a run's own process has for batches: collected
questions read twice, one request file written and uploaded, results read and journaled.
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr

from deployments.sandbox import start_sandbox
from tasks.batch.opening import open_rounds
from tasks.core.calls import Request
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.upstream.batches.questions import write_question

MOST_MB = 400

CONFIG = """
[app_ids.a]
key = "env:K"
base_url = "{url}"
quota = []
batch = true
[[check]]
name = "one"
model = "m"
[review]
model = "m"
[batch]
max_bytes = "{bytes}"
"""


def main() -> int:
    """Run it; 1 when more memory was needed than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=50_000)
    parser.add_argument("--bytes", type=int, default=180_000_000)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    with TemporaryDirectory() as folder, start_sandbox(batch={"seconds": 0}) as sandbox:
        path = Path(folder) / "questions.jsonl"
        _write(path, given.questions, given.bytes // given.questions - 420)
        text = CONFIG.format(url=sandbox.base_url, bytes=2 * given.bytes)
        run = Run("memory", load_settings(text), str(Path(folder) / "state"), 2)
        before, began = _peak(), time.monotonic()
        keys = {"a": SecretStr("sk-memory")}
        log = logging.getLogger("batch")
        with open_rounds(run, keys, Path(folder), started=time.time(), log=log, poll=1.0) as rounds:
            assert rounds.ask([path])
            batches = list(rounds.seen.values())
    peak, answered = _peak(), sum(one.answered for one in batches)
    print(
        f"{answered:,} answers of {given.questions:,} questions ({path.name}: {given.bytes / 1e6:,.0f} MB) in "
        f"{len(batches)} batches, {time.monotonic() - began:,.0f} s: peak {peak:,.0f} MB, {before:,.0f} before"
    )
    return int(peak > MOST_MB or answered != given.questions)


def _write(path: Path, questions: int, size: int) -> None:
    filler = "x = total(rows)  # of the month\n" * (size // 32 + 1)
    with path.open("wb") as file:
        for number in range(questions):
            content = f"File: src/f{number}.py\n@@ -1,1 +1,2 @@\n+ 1 | {filler[:size]}"
            messages = ({"role": "user", "content": content},)
            request = Request("m", messages, {}, prompt_tokens=size // 9, cell=str(number))
            write_question(file, request)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
