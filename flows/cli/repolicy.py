"""The command line that decides a finished run anew: other thresholds, the same verdicts, no call."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tasks.core.errors import ReviewError
from tasks.core.files import hold_folder, output_errors
from tasks.core.manifest import Manifest, RunFacts
from tasks.core.paths import RunPaths
from tasks.core.settings import Policy
from tasks.finished.export import EXPORTS
from tasks.outputs.schemas import Output
from tasks.outputs.tables import read_manifest

if TYPE_CHECKING:
    from tasks.finished.repolicy import NewOutcomes

__all__ = ["main", "repolicy"]

_EXAMPLES = """\
examples:
  python -m flows.cli.repolicy data/runs/tonight --config review.toml        # after editing [policy]
  python -m flows.cli.repolicy data/runs/tonight --suppressions known.jsonl  # after marking a finding
  python -m flows.cli.repolicy data/runs/tonight --config strict.toml --output data/runs/strict

Outcomes, tables, reports and exports that are there are written again; comments and verdicts stay.
exit code: 0 written; 2 DIR is no finished run or cannot be written, or the configuration is wrong
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.cli.repolicy",
        description="Decide anew which comments of a finished run are kept, without any call.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="DIR", help="output folder of a finished run")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="[policy] and suppressions of this review.toml; default: as the run was made",
    )
    parser.add_argument(
        "--suppressions", metavar="FILE", help="known false positives; wins over the configuration"
    )
    parser.add_argument("--output", metavar="DIR2", help="write here; default: DIR itself")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        repolicy(
            Path(arguments.folder),
            config=arguments.config,
            suppressions=arguments.suppressions,
            output=None if arguments.output is None else Path(arguments.output),
        )
    except ReviewError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def repolicy(
    folder: Path,
    *,
    config: str | None = None,
    suppressions: str | None = None,
    output: Path | None = None,
) -> RunFacts:
    """Decide the run in `folder` anew and write it to `output`, or over itself.

    Returns the new manifest. Says on the standard output what has changed.

    Raises:
        ConfigError: `config` or the file of suppressions cannot be used.
        OutputError: no finished run, or the output cannot be written.
    """
    from tasks.merge.baseline import load_suppressions  # noqa: PLC0415 - Arrow takes a while to import

    finished = RunPaths(folder.absolute())
    target = RunPaths((output or folder).absolute())
    facts = read_manifest(finished)
    policy, named = _wanted(facts, config)
    false = load_suppressions(suppressions or named)
    with hold_folder(target.root, target.lock):
        manifest = _rewrite(finished, target, facts, policy, false)
    comments = manifest["counts"]["comments"]
    changed = manifest["decided"]["changed"]
    print(f"{changed:,} of {comments['raised']:,} comments decided otherwise: {_told(comments)}")
    print(f"{target.report}")
    return manifest


def _told(comments: dict[str, int]) -> str:
    return ", ".join(f"{comments[name]:,} {name}" for name in ("kept", "dropped", "unverified"))


def _wanted(facts: Manifest, config: str | None) -> tuple[Policy, str | None]:
    """Thresholds, and the file of suppressions if one is named."""
    if config is None:
        stored = facts["settings"]
        return Policy.model_validate(stored["policy"]), stored["suppressions"]
    from flows.setup.config import read_config  # noqa: PLC0415 - only needed with --config

    settings = read_config(config)
    return settings.policy, settings.suppressions


def _rewrite(
    finished: RunPaths,
    target: RunPaths,
    facts: Manifest,
    policy: Policy,
    false: dict[str, str],
) -> RunFacts:
    from tasks.finished.repolicy import decide_anew  # noqa: PLC0415
    from tasks.report.task import write_report  # noqa: PLC0415 - pandas and Prefect take seconds
    from tasks.write.task import write_outputs  # noqa: PLC0415

    with output_errors(target.work):
        shutil.rmtree(target.work, ignore_errors=True)
        target.work.mkdir(parents=True)
    try:
        decided = decide_anew(finished, target, policy, false)
        named = {name: str(facts[name]) for name in ("run_id", "source")}
        outputs = write_outputs(target, facts["run_id"], named)
    finally:
        shutil.rmtree(target.work, ignore_errors=True)
    manifest = _updated(facts, policy, decided)
    outputs += _carry_over(finished, target, manifest)
    write_report(target, manifest, outputs, facts["figures"]["quota"])
    return manifest


def _updated(facts: Manifest, policy: Policy, decided: NewOutcomes) -> RunFacts:
    """The manifest after the new decisions; what the report adds is left out."""
    kept = {name: value for name, value in facts.items() if name not in {"figures", "outputs"}}
    comments = facts["counts"]["comments"]
    outcomes = {name: decided.outcomes[name] for name in comments if name != "raised"}
    counts = {
        **facts["counts"],
        "comments": {**comments, **outcomes},
        "dropped_by_reason": dict(decided.drops.most_common()),
    }
    history = facts["history"]
    updated = {
        **kept,
        "counts": counts,
        "history": None if history is None else {**history, **decided.age_counts()},
        "settings": {**facts["settings"], "policy": policy.model_dump()},
        "decided": {
            "at": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
            "changed": decided.changed,
        },
    }
    return cast("RunFacts", updated)


def _carry_over(finished: RunPaths, target: RunPaths, manifest: RunFacts) -> list[Output]:
    """What no threshold changes is copied; exports that the run has are made again."""
    from tasks.finished.export.files import export_run  # noqa: PLC0415 - reads tables

    if target != finished and finished.rejected.exists():
        with output_errors(target.rejected):
            shutil.copyfile(finished.rejected, target.rejected)
    names = [name for name, export in EXPORTS.items() if (finished.root / export.file).exists()]
    listed = read_manifest(finished)["outputs"]
    return [one for one in export_run(target.root, names, manifest) if one.name in listed]


if __name__ == "__main__":
    sys.exit(main())
