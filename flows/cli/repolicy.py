"""The command that decides a finished run anew: other thresholds, the same verdicts, no call."""

from __future__ import annotations

import logging
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from flows.cli.finished import finished_run
from tasks.core.errors import ConfigError
from tasks.core.files import hold_folder, output_errors, private_folder, publish
from tasks.core.locations import is_url
from tasks.core.manifest import Manifest, RunFacts
from tasks.core.paths import DERIVED, RunPaths
from tasks.core.policy_settings import Policy
from tasks.finished.derived import record
from tasks.finished.export import EXPORTS
from tasks.outputs.occupied import check_unoccupied
from tasks.outputs.schemas import Output
from tasks.outputs.tables import read_manifest

if TYPE_CHECKING:
    from tasks.finished.repolicy import NewOutcomes

__all__ = ["repolicy_command"]

_COPIED = ("rejected.jsonl", "carried.jsonl", "canaries.jsonl")
_BESIDE = [*_COPIED, *DERIVED]
"""Files of a run that its manifest does not list."""


def repolicy_command(
    place: str, *, config: str | None, suppressions: str | None, output: str | None
) -> int:
    """Decide the run at `place` anew, there or in the folder `output`; returns the exit code.

    Says on the standard output what has changed.

    Raises:
        ConfigError: `config`, the file of suppressions or `output` cannot be used.
        OutputError: no finished run, or it cannot be read or written.
    """
    if output is not None and is_url(output):
        msg = f"--output {output}: name a folder; without --output a run at a URL is written over there"
        raise ConfigError(msg)
    with finished_run(place, also=_BESIDE) as finished:
        target = finished if output is None else RunPaths(Path(output).absolute())
        manifest = _decide(finished, target, config, suppressions)
    comments = manifest["counts"]["comments"]
    changed = manifest["decided"]["changed"]
    print(f"{changed:,} of {comments['raised']:,} comments decided otherwise: {_told(comments)}")
    print(target.display_path(target.report.name))
    return 0


def _decide(
    finished: RunPaths, target: RunPaths, config: str | None, suppressions: str | None
) -> RunFacts:
    """Returns the new manifest."""
    from tasks.merge.baseline import load_suppressions  # noqa: PLC0415 - Arrow takes a while to import

    facts = read_manifest(finished)
    policy, named = _wanted(facts, config)
    source = None if suppressions else facts["source"]
    false = load_suppressions(suppressions or named, source, logging.getLogger(__name__))
    if target != finished:
        check_unoccupied(target, facts.get("source_key", ""), "choose another --output")
    with hold_folder(target.root, target.lock):
        return _rewrite(finished, target, facts, policy, false)


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

    staged = target.staged
    with output_errors(target.work):
        shutil.rmtree(target.work, ignore_errors=True)
        for folder in (target.work, staged.root):
            private_folder(folder)
    try:
        decided = decide_anew(finished, target, policy, false)
        named = {name: str(facts[name]) for name in ("run_id", "source")}
        outputs = write_outputs(staged, facts["run_id"], named)
        manifest = _updated(facts, policy, decided)
        outputs += _carry_over(finished, staged, manifest)
        write_report(staged, manifest, outputs, facts["figures"]["quota"])
        record(staged, DERIVED)
        publish(staged.root, target.root, target.manifest.name, target.optional_files)
    finally:
        shutil.rmtree(target.work, ignore_errors=True)
    return manifest


def _updated(facts: Manifest, policy: Policy, decided: NewOutcomes) -> RunFacts:
    """The manifest after the new decisions; what the report adds is left out."""
    kept = {
        name: value
        for name, value in facts.items()
        if name not in {"figures", "outputs", "derived"}
    }
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

    for name in _COPIED:
        if target != finished and (finished.root / name).exists():
            with output_errors(target.root / name):
                shutil.copyfile(finished.root / name, target.root / name)
    names = [name for name, export in EXPORTS.items() if (finished.root / export.file).exists()]
    listed = read_manifest(finished)["outputs"]
    return [one for one in export_run(target.root, names, manifest) if one.name in listed]
