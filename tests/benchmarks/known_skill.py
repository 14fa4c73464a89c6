"""
Labelled data through whole runs with models of known skill: does `evaluate` give what they were built to have?

    python -m tests.benchmarks.known_skill FOLDER [FILE ...]

FOLDER holds JSONL files of inputs with `expected`; without a FILE quixbugs, quixbugs_java, planstack and
shim52 are taken, there or in its folder bench. None of them is part of this project. Three checks and
a review model raise and judge what `tests/known_skill.py` throws for them; every count that
`evaluate` writes, before and after review, of each check and of all, is compared with theirs. Exit
code 1: one differs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deployments.sandbox import Sandbox, start_sandbox
from tasks.core.records import Input
from tasks.load.rows import read_input
from tests.benchmarks.whole_run import measure
from tests.known_skill import CHECKS, REVIEW, by_checks, figures, script

FILES = ("quixbugs", "quixbugs_java", "planstack", "shim52")
_PASSED_ON = (
    "input_id", "kind", "content", "path", "language", "title", "description", "expected",
)  # fmt: skip
Compared = tuple[str, dict[str, int], dict[str, int]]
"""What, as it was built, as it was given."""


def read_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a file of the folder, with the fields of an input alone."""
    path = next(
        one
        for one in (folder / f"{name}.jsonl", folder / "bench" / f"{name}.jsonl")
        if one.exists()
    )
    rows = map(json.loads, path.read_text("utf-8").splitlines())
    return [{key: row[key] for key in _PASSED_ON if key in row} for row in rows]


def evaluated(rows: Sequence[dict[str, Any]], items: Sequence[Input], sandbox: Sandbox) -> Any:
    """The evaluation of a whole run over the rows."""
    names = (*CHECKS, REVIEW)
    sandbox.reset()
    sandbox.control(models={one: {"skill": "scripted"} for one in names}, answers=script(items))
    checks = "".join(f'[[check]]\nname = "{one}"\nmodel = "{one}"\n' for one in CHECKS)
    pool = f'[app_ids.a]\nkey = "env:KNOWN_KEY"\nbase_url = "{sandbox.base_url}"\nquota = []\n'
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        text = f'processes = 1\nstate = "state"\n{pool}{checks}[review]\nmodel = "{REVIEW}"\n'
        (folder / "review.toml").write_text(text)
        (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
        known = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
        environment = known | {"KNOWN_KEY": "known-key", "PREFECT_HOME": str(folder / "home")}
        start = [sys.executable, "-m", "flows.cli.main"]
        run = [*start, "run", "rows.jsonl", "--config", "review.toml", "--output", "out"]
        for command in (run, [*start, "evaluate", "out"]):
            measure(command, folder, environment)
        return json.loads((folder / "out" / "evaluation.json").read_text())


def compared(items: Sequence[Input], facts: Any) -> Iterator[Compared]:
    """Every count of the evaluation beside the built-in one."""
    sets = [("all checks", facts["union"], (*CHECKS,))]
    sets += [(name, facts["checks"][name], (name,)) for name in CHECKS]
    for name, given, checks in sets:
        for when in ("before", "after"):
            built = figures(items, by_checks(*checks, after=when == "after"))
            for hit, counts in built.items():
                got = given[hit][f"{when}_review"]
                yield (
                    f"{name} | {when} | {hit.replace('_', ' ')}",
                    counts,
                    {k: got[k] for k in counts},
                )


def main() -> int:
    """Print a row per file and meaning of a hit, of all checks after review; then what differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[1])
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", nargs="*", default=FILES)
    options = parser.parse_args()
    differing: list[str] = []
    print("| file | inputs | labels | a hit | true | false | missed | figures compared | equal |")
    print("|---|---|---|---|---|---|---|---|---|")
    with start_sandbox() as sandbox:
        for name in options.files:
            rows = read_rows(options.folder, name)
            items = [*map(read_input, rows)]
            differing += [
                f"{name}: {one}" for one in _rows(name, items, evaluated(rows, items, sandbox))
            ]
    print(*differing, sep="\n")
    return 1 if differing else 0


def _rows(name: str, items: Sequence[Input], facts: Any) -> Iterator[str]:
    """Prints a file's rows; yields what differs."""
    found = [*compared(items, facts)]
    labels = sum(len(one.expected or ()) for one in items)
    for hit in ("by place", "by place and matter"):
        mine = [one for one in found if one[0].endswith(f"| {hit}")]
        equal = sum(built[key] == got[key] for _, built, got in mine for key in built)
        (shown,) = (got for what, _, got in mine if what.startswith("all checks | after"))
        cells = (
            name,
            len(items),
            labels,
            hit,
            *(shown[one] for one in ("true", "false", "missed")),
        )
        total = sum(len(built) for _, built, _ in mine)
        print(f"| {' | '.join(map(str, cells))} | {total} | {equal} |", flush=True)
    yield from (f"{what}: built {built}, given {got}" for what, built, got in found if built != got)


if __name__ == "__main__":
    sys.exit(main())
