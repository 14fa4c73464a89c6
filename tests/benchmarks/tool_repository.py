"""
Ruff as a check on a made repository of 100 Python files: does each of its findings get to its line?

    python -m tests.benchmarks.tool_repository [--files 100] [--local-model]

The last commit adds three defects to each file; a fourth stands in old lines far from it. Two whole runs:
one over the files, in which Ruff is a command, and one over that commit, with the SARIF file that Ruff has
written of the repository. Ruff and a check of the sandbox raise, a scripted review model confirms three
of the rules and rejects one. Every finding of Ruff is looked up by file, rule, line and outcome. Exit
code 1: one is missing, elsewhere, ended otherwise, or too many.

With `--local-model` the embedded model judges Ruff's findings in the files instead, whatever it makes of
them; one file in four has defects then, for each costs it ten seconds of CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from deployments.local_model import MODEL, ModelOptions, local_model
from deployments.sandbox import start_sandbox
from tests.benchmarks.whole_run import measure

OLD = '''\
"""Part {n} of the shop."""


def named_{n}(rows):
    """Rows with a name."""
    if rows == None:
        return []
    return [row for row in rows if row.name]


def total_{n}(rows):
    """Sum of prices."""
    total = 0
    for row in rows:
        total += row.price
    return total


def mean_{n}(rows):
    """Mean price."""
    return total_{n}(rows) / max(1, len(rows))
'''
NEW = '''

def load_{n}(path, seen=[]):
    """Rows of a file, once."""
    try:
        rows = path.read_text().splitlines()
    except:
        rows = []
    seen.extend(rows)
    return known_{n}(seen)
'''
GOOD = OLD.replace("== None", "is None")
RULES = {
    "E711": ("== None", "confirmed"), "B006": ("seen=[]", "confirmed"), "E722": ("except:", "rejected"), "F821": ("known_", "confirmed"),
}  # fmt: skip
"""Rule -> the mark of its line, and what the review model decides."""
OUTCOME = {"confirmed": "kept", "rejected": "dropped"}
CONFIG = """
processes = 1
state = "state"
{top}
[app_ids.a]
key = "env:TOOL_KEY"
base_url = "{url}"
quota = []
{check}
[[check]]
name = "ruff"
{tool}
[review]
model = "{reviewer}"
{options}
"""
SCRIPTED = {
    "top": "",
    "check": '[[check]]\nname = "one"\nmodel = "check-1"',
    "reviewer": "review-1",
    "options": "",
}
LOCAL = {
    "top": 'prompt = "short"\nthreads = 2',
    "check": "",
    "reviewer": MODEL,
    "options": "max_tokens = 400",
}
"""How the review model and a second check come into CONFIG."""
RUFF = (
    "ruff", "check", "--isolated", "--no-cache", "--select", "E,F,B", "--output-format", "sarif",
)  # fmt: skip
COMMAND = f"command = {json.dumps([*RUFF, '{files}'])}"
OLD_RULE = "E711"
Found = tuple[str, str, int, str]
"""File, rule, line, outcome."""


def made_repository(folder: Path, files: int, each: int = 1) -> set[Found]:
    """Two commits; what has to be found in the files, of which one in `each` has defects."""
    _git(folder, "init", "-q")
    wanted: set[Found] = set()
    for text in (OLD, OLD + NEW):
        for n in range(files):
            path = folder / f"shop/part_{n:03}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.format(n=n) if n % each == 0 else GOOD.format(n=n))
            lines = enumerate(path.read_text().splitlines(), 1)
            wanted |= {
                (f"shop/{path.name}", rule, number, OUTCOME[decision])
                for number, line in lines
                for rule, (mark, decision) in RULES.items()
                if mark in line
            }
        _git(folder, "add", ".")
        _git(folder, "commit", "-q", "-m", "More")
    return wanted


def _git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True)


def main() -> int:
    """Run, look each finding up, print the counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[1])
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--local-model", action="store_true", help="it judges, nobody is scripted")
    options = parser.parse_args()
    return _local(options.files) if options.local_model else _scripted(options.files)


def _scripted(files: int) -> int:
    verdicts = [{"about": rule, "decision": said, "score": 8} for rule, (_, said) in RULES.items()]
    with tempfile.TemporaryDirectory() as made, start_sandbox() as sandbox:
        folder = Path(made)
        (folder / "repo").mkdir()
        wanted = made_repository(folder / "repo", files)
        sandbox.control(answers=[{"model": "review-1", "verdicts": verdicts}])
        ruff = Path(sys.executable).with_name("ruff")
        said = subprocess.run([ruff, *RUFF[1:], "."], cwd=folder / "repo", capture_output=True)  # noqa: PLW1510  (1: it has found something)
        (folder / "ruff.sarif").write_bytes(said.stdout)
        reviewer = {"url": sandbox.base_url, **SCRIPTED}
        added = {one for one in wanted if one[1] != OLD_RULE}
        ends = [
            _ran(folder, "repo", COMMAND, wanted, reviewer),
            _ran(folder, "git:repo@HEAD~1..HEAD", 'sarif = "ruff.sarif"', added, reviewer),
        ]
    return max(ends)


def _local(files: int) -> int:
    limits = ModelOptions(max_chars=30, max_items=4, parallel=2)
    with tempfile.TemporaryDirectory() as made, local_model(limits) as url:
        folder = Path(made)
        (folder / "repo").mkdir()
        wanted = made_repository(folder / "repo", files, each=4)
        return _ran(folder, "repo", COMMAND, wanted, {"url": url, **LOCAL})


def _ran(
    folder: Path, source: str, tool: str, wanted: set[Found], reviewer: Mapping[str, str]
) -> int:
    (folder / "review.toml").write_text(CONFIG.format(tool=tool, **reviewer))
    known = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{known['PATH']}"
    environment = known | {"TOOL_KEY": "k", "PREFECT_HOME": str(folder / "home"), "PATH": path}
    output = source.partition(":")[0]
    arguments = [source, "--config", "review.toml", "--output", f"out-{output}"]
    cost = measure([sys.executable, "-m", "flows.cli.main", "run", *arguments], folder, environment)
    print(f"\n{source}, {tool.partition(' ')[0]}")
    return _print(folder / f"out-{output}", wanted, cost.cpu, judged=reviewer["reviewer"] != MODEL)


def _print(output: Path, wanted: set[Found], cpu: float, *, judged: bool) -> int:
    comments = pq.read_table(output / "comments.parquet").to_pylist()
    calls = Counter(
        (row["name"], row["status"]) for row in pq.read_table(output / "calls.parquet").to_pylist()
    )
    ruff = [one for one in comments if one["check_model"] == "ruff"]
    found = Counter(
        (one["path"], next((r for r in RULES if r in json.dumps(one, default=str)), "?"), one["start_line"], one["outcome"])
        for one in ruff
    )  # fmt: skip
    if not judged:
        print("what the model made of them:", dict(Counter((one[1], one[3]) for one in found)))
        wanted, found = {(*one[:3], "") for one in wanted}, Counter((*one[:3], "") for one in found)
    print(f"cells {dict(calls)}; {cpu:.0f} s of CPU")
    print(
        f"comments {len(comments)}, of ruff {len(ruff)} by {dict(Counter(one['loc_method'] for one in ruff))}"
    )
    right = sum(found[one] == 1 for one in wanted)
    print(f"wanted {len(wanted)}, at their line with their verdict {right}")
    shared = sum(len(one["check_models"]) > 1 for one in ruff)
    print(f"of ruff in a cluster with the other check {shared}")
    print(*sorted({*found} - wanted)[:5], sep="\n")
    return 0 if {*found} == wanted and right == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
