"""The main job on data/samples with the embedded local model and a linter: no key, no server to start."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from deployments.local_model import ModelOptions, local_model
from flows.cli.main import main as nightly_review

__all__ = ["main"]

_ROOT = Path(__file__).parents[1]
SAMPLES = _ROOT / "data" / "samples" / "samples.jsonl"
RUN = _ROOT / "data" / "runs" / "demo"
STATE = _ROOT / "data" / "state" / "demo"
SHORT = ModelOptions(max_chars=30, max_items=1, parallel=2)
"""Most of the time goes into reading prompts: more requests at once read the rules more often."""
LIMIT = "8"
"""Two of each language, short ones, and among them both in which the linter finds something."""

CONFIG = """\
# Written by `make demo`.
mode = "check_and_review"
processes = 1
threads = 2                       # the local model computes two requests at a time
state = "{state}"
prompt = "short"                  # the local model is slow to read
accept = {{ failed_cells = "10%" }} # a reply that cannot be read does not make the demo fail

[app_ids.local]
key = "env:LOCAL_MODEL_KEY"
base_url = "{base_url}"
quota = []                        # no limit

[[check]]
name = "smollm2"
model = "smollm2-135m-instruct"
max_tokens = 200

[[check]]
name = "ruff"
command = ["ruff", "check", "--isolated", "--no-cache", "--select", "B,F,S", "--output-format", "sarif", "{{files}}"]
include = ["*.py"]
severities = {{ "B" = "medium", "S6" = "high" }}
categories = {{ "S" = "security" }}
review = false                    # so small a model is no judge of them

[review]
model = "smollm2-135m-instruct"
max_tokens = 200
batch = 1

[policy]
require_evidence = true           # a verdict counts when the line that it quotes is in the code
"""

_WORTH = (
    "SmolLM2 (135 M parameters) shows the path and is no reviewer; the findings of ruff are true."
)
_AMBER = (
    "{failed} of its replies could not be used: run `make demo` again, only those are asked again."
)
_NEXT = """
report       {report}
your code, with a real model:
  export OPENAI_API_KEY=...
  .venv/bin/nightly-review init --endpoint https://api.openai.com/v1 --key OPENAI_API_KEY --model gpt-4.1 --quota 3/60s
  .venv/bin/nightly-review estimate git:. --config review.toml
  .venv/bin/nightly-review run git:. --config review.toml --output data/runs/first
"""


def main(arguments: list[str] | None = None) -> int:
    """Start the model, write review.toml, run the job; returns its exit code.

    `arguments` go to the job and win over the demo's own: `--limit 28` takes all samples.
    """
    given = sys.argv[1:] if arguments is None else arguments
    STATE.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ.setdefault("LOCAL_MODEL_KEY", "no-key-needed")
    config = STATE / "review.toml"
    with local_model(SHORT) as base_url:
        config.write_text(CONFIG.format(base_url=base_url, state=STATE))
        fixed = [str(SAMPLES), "--config", str(config), "--output", str(RUN), "--limit", LIMIT]
        code = nightly_review(["run", *fixed, *given])
    if code in _ENDED:
        print("\n".join(_last_words(RUN)))
    return code


_ENDED = (0, 3)


def _last_words(run: Path) -> list[str]:
    """What the result is worth, what to do about replies of no use, and where to go from here."""
    failed = json.loads((run / "manifest.json").read_text())["counts"]["cells"]["failed"]
    amber = [_amber(_AMBER.format(failed=failed))] if failed else []
    report = (run / "report.html").relative_to(_ROOT)
    return [_WORTH, *amber, _NEXT.format(report=report).rstrip("\n")]


def _amber(text: str) -> str:
    return f"\x1b[33m{text}\x1b[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    sys.exit(main())
