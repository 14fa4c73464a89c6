"""The main job on data/samples with the embedded local model: no key, no server to start."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deployments.local_model import ModelOptions, local_model
from flows.cli.main import main as nightly_review

__all__ = ["main"]

_ROOT = Path(__file__).parents[1]
SAMPLES = _ROOT / "data" / "samples" / "samples.jsonl"
RUN = _ROOT / "data" / "runs" / "demo"
SHORT = ModelOptions(max_chars=40, max_items=1, parallel=4)
LIMIT = "20"
"""Three to four minutes on two cores, five for all 28; in the samples, any first four rows are four languages."""

CONFIG = """\
# Written by `make demo`. To review with a real model, change base_url, key, quota and the models.
mode = "check_and_review"
processes = 2
threads = 2                       # the local model computes four requests at a time
state = "{state}"

[app_ids.local]
key = "env:LOCAL_MODEL_KEY"
base_url = "{base_url}"

[[check]]
name = "smollm2"
model = "smollm2-135m-instruct"
max_tokens = 300

[review]
model = "smollm2-135m-instruct"
max_tokens = 300
batch = 4
"""


def main(arguments: list[str] | None = None) -> int:
    """Start the model, write review.toml, run the job; returns its exit code, 0 for what it found.

    `arguments` go to the job and win over the demo's own: `--limit 28` takes all samples.
    """
    given = sys.argv[1:] if arguments is None else arguments
    RUN.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("LOCAL_MODEL_KEY", "no-key-needed")
    config = RUN / "review.toml"
    with local_model(SHORT) as base_url:
        config.write_text(CONFIG.format(base_url=base_url, state=_ROOT / "data" / "state" / "demo"))
        fixed = [str(SAMPLES), "--config", str(config), "--output", str(RUN), "--limit", LIMIT]
        code = nightly_review(["run", *fixed, *given])
    if code == _INCOMPLETE:
        print(
            "Gaps are what a model of 135 million parameters leaves; calls.parquet names each one."
        )
        return 0
    return code


_INCOMPLETE = 3


if __name__ == "__main__":
    sys.exit(main())
